// The action `announce` in JavaScript: tells a chat and an audit log about the event, and counts how often it did.

import log from "trapjaw:plugin/log@0.1.0";
import sinks from "trapjaw:plugin/sinks@0.1.0";
import state from "trapjaw:plugin/state@0.1.0";

const BY = "javascript";
const FIELDS = ["title"];

export const action = {
  perform(event, configText, context) {
    const { title } = readConfig(configText);
    const about = event.subject ?? event.id;
    const text = `${title}: ${event.type} ${about}`;
    const chat = sinks.send("chat", message({ text, event: event.id, by: BY }));

    const line = {
      event: event.id,
      source: event.source,
      type: event.type,
      trigger: context.trigger,
      at_us: event.timeUs,
      by: BY,
    };
    // Its order is kept for each subject, and an event is audited once, whatever its text becomes.
    const audit = sinks.send("audit", {
      ...message(line),
      key: about,
      dedupKey: `audit:${event.id}`,
    });

    const announced = state.increment("announced", 1);
    log.write("info", `announced ${event.id} as number ${announced}`);
    const output = { announced, by: BY, chat: chat.status, audit: audit.status };
    return { tag: "done", val: JSON.stringify(output) };
  },
};

function readConfig(text) {
  let config;
  try {
    config = JSON.parse(text.trim() === "" ? "{}" : text);
  } catch (err) {
    throw rejected(`read config: ${err.message}`);
  }
  if (config === null || typeof config !== "object" || Array.isArray(config)) {
    throw rejected("read config: not an object");
  }
  const unknown = Object.keys(config).find((name) => !FIELDS.includes(name));
  if (unknown !== undefined) {
    throw rejected(`read config: ${unknown}: unknown field`);
  }
  const { title = "Trapjaw" } = config;
  if (typeof title !== "string") {
    throw rejected("read config: title: not a string");
  }
  return { title };
}

function message(body) {
  return {
    body: utf8(JSON.stringify(body)),
    contentType: "application/json",
    headers: [],
    secretHeaders: [],
    key: null,
    options: null,
    dedupKey: null,
  };
}

// Only an object of this shape arrives as a failure; any other exception is a trap.
function rejected(message) {
  return { kind: "rejected", message, afterMs: null };
}

// QuickJS has no TextEncoder.
function utf8(text) {
  const bytes = [];
  for (const character of text) {
    const code = character.codePointAt(0);
    if (code < 0x80) {
      bytes.push(code);
    } else if (code < 0x800) {
      bytes.push(0xc0 | (code >> 6), tail(code));
    } else if (code < 0x10000) {
      bytes.push(0xe0 | (code >> 12), tail(code >> 6), tail(code));
    } else {
      bytes.push(0xf0 | (code >> 18), tail(code >> 12), tail(code >> 6), tail(code));
    }
  }
  return new Uint8Array(bytes);
}

function tail(code) {
  return 0x80 | (code & 0x3f);
}
