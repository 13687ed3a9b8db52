// Just enough JSON to look into a payload without copying it: a cursor that checks what it walks over.
#ifndef TRAPJAW_JSON_H
#define TRAPJAW_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
    // Where a string may be unescaped to; as large as the whole text, so it cannot overflow.
    char *scratch;
} json_cursor;

// What `json_peek` sees: '{' '[' '"' '0' (a number) 't' 'f' 'n', or 0 for anything else and for the end.
char json_peek(json_cursor *json);

// Walks over one value of any kind.
bool json_skip(json_cursor *json);

// Reads a string, unescaped, as UTF-8 that ends in 0; it stays valid as long as the scratch does.
bool json_string(json_cursor *json, const char **text, size_t *len);

// Reads a whole number of 32 bits.
bool json_u32(json_cursor *json, uint32_t *number);

// Begins an object or a list; `open` is '{' or '['.
bool json_open(json_cursor *json, char open);

// True when another item follows, and stands on it; `*ok` is false when the text is wrong.
bool json_more(json_cursor *json, char close, bool first, bool *ok);

// Reads the name of a field, and stands on its value.
bool json_name(json_cursor *json, const char **name, size_t *len);

// True when nothing but blanks is left.
bool json_at_end(json_cursor *json);

#endif
