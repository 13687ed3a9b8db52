-- Schema 2.
--
-- Values of plugins' state whose time is over are swept out, the oldest first; those without an end stay out of this.

CREATE INDEX plugin_state_expires ON plugin_state (expires) WHERE expires IS NOT NULL;
