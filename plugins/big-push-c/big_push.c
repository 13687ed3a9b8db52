// The condition `big-push` in C: holds for a GitHub push of at least so many commits.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "condition_plugin.h"
#include "json.h"

#define PREFIX "refs/heads/"
// Room for the fixed words and two numbers of a reason.
#define WORDS_MAX 96

typedef struct {
    uint32_t min_commits;
    bool has_min_commits;
    // NULL when any branch will do.
    const char *branch;
} config_t;

typedef struct {
    const char *git_ref;
    uint32_t n_commits;
    bool has_commits;
} push_t;

static bool is(const char *name, size_t len, const char *wanted) {
    return len == strlen(wanted) && !memcmp(name, wanted, len);
}

static bool starts_with(const char *text, const char *prefix) {
    return !strncmp(text, prefix, strlen(prefix));
}

// A string with a NUL inside would end early for the functions of string.h, and no ref has one.
static bool plain_string(json_cursor *json, const char **text) {
    size_t len;
    return json_string(json, text, &len) && strlen(*text) == len;
}

// Returns NULL, or what is wrong.
static const char *read_config(json_cursor *json, config_t *config) {
    if (!json_open(json, '{')) return "read config: not an object";
    bool ok;
    for (bool first = true; json_more(json, '}', first, &ok); first = false) {
        const char *name;
        size_t len;
        if (!json_name(json, &name, &len)) return "read config: not JSON";
        if (is(name, len, "min_commits")) {
            if (!json_u32(json, &config->min_commits)) return "read config: min_commits: not a whole number of 32 bits";
            config->has_min_commits = true;
        } else if (is(name, len, "branch")) {
            if (json_peek(json) == 'n' && json_skip(json)) continue;
            if (!plain_string(json, &config->branch)) return "read config: branch: not a string";
        } else {
            return "read config: unknown field, min_commits or branch expected";
        }
    }
    if (!ok || !json_at_end(json)) return "read config: not JSON";
    return config->has_min_commits ? NULL : "read config: missing field min_commits";
}

static bool count_items(json_cursor *json, uint32_t *n_items) {
    if (!json_open(json, '[')) return false;
    bool ok;
    *n_items = 0;
    for (bool first = true; json_more(json, ']', first, &ok); first = false) {
        if (!json_skip(json)) return false;
        ++*n_items;
    }
    return ok;
}

// Returns NULL, or what is wrong.
static const char *read_push(json_cursor *json, push_t *push) {
    if (!json_open(json, '{')) return "read event data: not an object";
    bool ok;
    for (bool first = true; json_more(json, '}', first, &ok); first = false) {
        const char *name;
        size_t len;
        if (!json_name(json, &name, &len)) return "read event data: not JSON";
        if (is(name, len, "ref")) {
            if (!plain_string(json, &push->git_ref)) return "read event data: ref: not a string";
        } else if (is(name, len, "commits")) {
            if (!count_items(json, &push->n_commits)) return "read event data: commits: not a list";
            push->has_commits = true;
        } else if (!json_skip(json)) {
            return "read event data: not JSON";
        }
    }
    if (!ok || !json_at_end(json)) return "read event data: not JSON";
    if (!push->git_ref) return "read event data: missing field ref";
    return push->has_commits ? NULL : "read event data: missing field commits";
}

static json_cursor cursor(const uint8_t *text, size_t len) {
    // Never zero bytes, and one byte more than the longest string with its end.
    char *scratch = malloc(len + 1);
    if (!scratch) abort();
    return (json_cursor){text, text + len, scratch};
}

// Writes the reason into memory that the generated code frees after the call.
static bool decide(const config_t *config, const push_t *push, condition_plugin_string_t *reason) {
    const char *prefix = config->branch && !starts_with(config->branch, "refs/") ? PREFIX : "";
    const char *branch = config->branch ? config->branch : "";
    size_t max = strlen(push->git_ref) + strlen(prefix) + strlen(branch) + WORDS_MAX;
    char *text = malloc(max);
    if (!text) abort();
    bool elsewhere = config->branch && (!starts_with(push->git_ref, prefix) ||
                                        strcmp(push->git_ref + strlen(prefix), branch));
    if (elsewhere) {
        snprintf(text, max, "push to %s, %s%s wanted", push->git_ref, prefix, branch);
    } else {
        snprintf(text, max, "%u %s on %s, %u wanted", push->n_commits,
                 push->n_commits == 1 ? "commit" : "commits", push->git_ref, config->min_commits);
    }
    *reason = (condition_plugin_string_t){(uint8_t *)text, strlen(text)};
    return !elsewhere && push->n_commits >= config->min_commits;
}

bool exports_trapjaw_plugin_condition_evaluate(exports_trapjaw_plugin_condition_event_t *event,
                                               condition_plugin_string_t *config_text,
                                               exports_trapjaw_plugin_condition_context_t *context,
                                               exports_trapjaw_plugin_condition_verdict_t *verdict,
                                               exports_trapjaw_plugin_condition_failure_t *failure) {
    config_t config = {0};
    push_t push = {0};
    json_cursor config_json = cursor(config_text->ptr, config_text->len);
    json_cursor push_json = cursor(event->data.ptr, event->data.len);
    // The cursors move; this is what must be freed.
    char *config_scratch = config_json.scratch, *push_scratch = push_json.scratch;

    const char *wrong = read_config(&config_json, &config);
    if (!wrong) wrong = read_push(&push_json, &push);
    if (wrong) {
        failure->kind = TRAPJAW_PLUGIN_TYPES_FAILURE_KIND_REJECTED;
        condition_plugin_string_dup(&failure->message, wrong);
        failure->after_ms.is_some = false;
    } else {
        verdict->reason.is_some = true;
        verdict->matched = decide(&config, &push, &verdict->reason.val);
    }

    free(config_scratch);
    free(push_scratch);
    exports_trapjaw_plugin_condition_event_free(event);
    exports_trapjaw_plugin_condition_context_free(context);
    condition_plugin_string_free(config_text);
    return !wrong;
}
