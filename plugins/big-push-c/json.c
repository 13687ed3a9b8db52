// Just enough JSON to look into a payload without copying it; see json.h.

#include "json.h"

#include <string.h>

// Deeper than any payload that the host accepts; it bounds the stack.
#define DEPTH_MAX 128

// What may stand after a backslash, beside u.
static const char ESCAPES[] = "\"\\/bfnrt";

static bool skip_value(json_cursor *json, int depth);

static void skip_blanks(json_cursor *json) {
    while (json->at < json->end && strchr(" \t\r\n", *json->at) && *json->at) json->at++;
}

static bool take(json_cursor *json, char wanted) {
    skip_blanks(json);
    if (json->at == json->end || *json->at != (uint8_t)wanted) return false;
    json->at++;
    return true;
}

static bool is_digit(json_cursor *json) {
    return json->at < json->end && *json->at >= '0' && *json->at <= '9';
}

char json_peek(json_cursor *json) {
    skip_blanks(json);
    if (json->at == json->end) return 0;
    if (*json->at == '-' || is_digit(json)) return '0';
    return *json->at && strchr("{[\"tfn", *json->at) ? (char)*json->at : 0;
}

bool json_at_end(json_cursor *json) {
    skip_blanks(json);
    return json->at == json->end;
}

static bool hex4(json_cursor *json, uint32_t *code) {
    *code = 0;
    if (json->end - json->at < 4) return false;
    for (int i = 0; i < 4; i++) {
        uint8_t c = *json->at++;
        uint32_t digit;
        if (c >= '0' && c <= '9') digit = c - '0';
        else if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
        else if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
        else return false;
        *code = *code << 4 | digit;
    }
    return true;
}

static char *put_utf8(char *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    int n_tails = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t heads[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = (char)(heads[n_tails] | code >> (6 * n_tails));
    while (n_tails-- > 0) *out++ = (char)(0x80 | (code >> (6 * n_tails) & 0x3f));
    return out;
}

// The code point of \uXXXX, with its second half when it is a surrogate pair; half a pair is no text.
static bool unicode_escape(json_cursor *json, uint32_t *code) {
    if (!hex4(json, code)) return false;
    if (*code < 0xd800 || *code > 0xdfff) return true;
    uint32_t low;
    if (*code > 0xdbff || json->end - json->at < 2 || json->at[0] != '\\' || json->at[1] != 'u') return false;
    json->at += 2;
    if (!hex4(json, &low) || low < 0xdc00 || low > 0xdfff) return false;
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

static bool escape(json_cursor *json, char **out) {
    static const char values[] = "\"\\/\b\f\n\r\t";
    if (json->at == json->end) return false;
    uint8_t c = *json->at++;
    if (c == 'u') {
        uint32_t code;
        if (!unicode_escape(json, &code)) return false;
        *out = put_utf8(*out, code);
        return true;
    }
    const char *found = c ? strchr(ESCAPES, c) : NULL;
    if (!found) return false;
    *(*out)++ = values[found - ESCAPES];
    return true;
}

// Walks over one character of more than one byte; what is no UTF-8 must not reach the host as text.
static bool multibyte(json_cursor *json, char **out) {
    const uint8_t *at = json->at;
    int n_tails = *at >= 0xf0 ? 3 : *at >= 0xe0 ? 2 : 1;
    if (*at < 0xc2 || *at > 0xf4 || json->end - at <= n_tails) return false;
    for (int i = 1; i <= n_tails; i++) {
        if ((at[i] & 0xc0) != 0x80) return false;
    }
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool no_character = (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f);
    if (overlong || no_character) return false;
    memcpy(*out, at, (size_t)n_tails + 1);
    *out += n_tails + 1;
    json->at += n_tails + 1;
    return true;
}

bool json_string(json_cursor *json, const char **text, size_t *len) {
    if (!take(json, '"')) return false;
    char *out = json->scratch;
    while (json->at < json->end) {
        uint8_t c = *json->at;
        if (c == '"') {
            json->at++;
            *text = json->scratch;
            *len = (size_t)(out - json->scratch);
            *out = 0;
            json->scratch = out + 1;
            return true;
        }
        if (c < 0x20) return false;
        if (c >= 0x80) {
            if (!multibyte(json, &out)) return false;
            continue;
        }
        json->at++;
        if (c != '\\') *out++ = (char)c;
        else if (!escape(json, &out)) return false;
    }
    return false;
}

// A string that nobody reads is not unescaped, and need not make sense.
static bool skip_string(json_cursor *json) {
    if (!take(json, '"')) return false;
    while (json->at < json->end) {
        uint8_t c = *json->at++;
        if (c == '"') return true;
        if (c < 0x20) return false;
        if (c != '\\') continue;
        if (json->at == json->end) return false;
        uint32_t code;
        c = *json->at++;
        if (c == 'u' ? !hex4(json, &code) : !c || !strchr(ESCAPES, c)) return false;
    }
    return false;
}

static bool digits(json_cursor *json) {
    if (!is_digit(json)) return false;
    while (is_digit(json)) json->at++;
    return true;
}

static bool skip_number(json_cursor *json) {
    if (*json->at == '-') json->at++;
    const uint8_t *begin = json->at;
    if (!digits(json)) return false;
    if (*begin == '0' && json->at - begin > 1) return false;
    if (json->at < json->end && *json->at == '.') {
        json->at++;
        if (!digits(json)) return false;
    }
    if (json->at < json->end && (*json->at == 'e' || *json->at == 'E')) {
        json->at++;
        if (json->at < json->end && (*json->at == '+' || *json->at == '-')) json->at++;
        return digits(json);
    }
    return true;
}

bool json_u32(json_cursor *json, uint32_t *number) {
    if (json_peek(json) != '0') return false;
    const uint8_t *begin = json->at;
    if (!skip_number(json)) return false;
    uint64_t sum = 0;
    for (const uint8_t *at = begin; at < json->at; at++) {
        if (*at < '0' || *at > '9') return false;
        sum = sum * 10 + (*at - '0');
        if (sum > UINT32_MAX) return false;
    }
    *number = (uint32_t)sum;
    return true;
}

static bool skip_word(json_cursor *json, const char *word) {
    size_t len = strlen(word);
    if ((size_t)(json->end - json->at) < len || memcmp(json->at, word, len)) return false;
    json->at += len;
    return true;
}

bool json_open(json_cursor *json, char open) {
    return take(json, open);
}

bool json_more(json_cursor *json, char close, bool first, bool *ok) {
    *ok = true;
    if (take(json, close)) return false;
    *ok = first || take(json, ',');
    return *ok;
}

bool json_name(json_cursor *json, const char **name, size_t *len) {
    return json_string(json, name, len) && take(json, ':');
}

static bool skip_items(json_cursor *json, char open, char close, int depth) {
    if (depth == DEPTH_MAX || !json_open(json, open)) return false;
    bool ok;
    for (bool first = true; json_more(json, close, first, &ok); first = false) {
        if (open == '{' && !(skip_string(json) && take(json, ':'))) return false;
        if (!skip_value(json, depth + 1)) return false;
    }
    return ok;
}

static bool skip_value(json_cursor *json, int depth) {
    switch (json_peek(json)) {
        case '{': return skip_items(json, '{', '}', depth);
        case '[': return skip_items(json, '[', ']', depth);
        case '"': return skip_string(json);
        case '0': return skip_number(json);
        case 't': return skip_word(json, "true");
        case 'f': return skip_word(json, "false");
        case 'n': return skip_word(json, "null");
        default: return false;
    }
}

bool json_skip(json_cursor *json) {
    return skip_value(json, 0);
}
