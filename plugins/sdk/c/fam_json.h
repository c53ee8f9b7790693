/* fam_json.h: JSON as the protocol of plugins has it. fam_plugin.c alone includes this. Nothing here writes beyond what it
 * reserved, or reads beyond the piece that it is given, whatever is in it.
 */
#ifndef FAM_JSON_H
#define FAM_JSON_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 200                /* of arrays and objects in each other */
#define MAX_TEXT ((size_t)1 << 30)   /* of a line, and of all that is kept of one */

/* Bytes that grow, with a NUL behind them. `broken` says that something did not fit. */
struct text {
    char *data;
    size_t len, size;
    int broken;
};

static int reserve(struct text *text, size_t more)
{
    size_t size = text->size;
    char *data;

    if (text->broken || more > MAX_TEXT - text->len)
        return !(text->broken = 1);
    if (text->len + more < size)
        return 1;
    size = size * 2 > text->len + more ? size * 2 : text->len + more + 1;
    data = realloc(text->data, size);
    if (data == NULL)
        return !(text->broken = 1);
    text->data = data;
    text->size = size;
    return 1;
}

static void add(struct text *text, const void *data, size_t len)
{
    if (!reserve(text, len))
        return;
    if (len > 0)
        memcpy(text->data + text->len, data, len);
    text->len += len;
    text->data[text->len] = '\0';
}

static void add_string(struct text *text, const char *string)
{
    add(text, string, strlen(string));
}

static void clear(struct text *text)
{
    text->len = 0;
    text->broken = 0;
    add(text, "", 0);
}

/* A part of a line, which is JSON. */
struct piece {
    const char *at, *end;
};

static const char *space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n'))
        at++;
    return at;
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

/* The four digits behind a \u; -1 for others. */
static long unit(const char *at, const char *end)
{
    long number = 0;
    int i;

    if (end - at < 4)
        return -1;
    for (i = 0; i < 4; i++) {
        if (hex_digit(at[i]) < 0)
            return -1;
        number = number * 16 + hex_digit(at[i]);
    }
    return number;
}

/* Behind the string that begins at `at`; NULL if there is none. */
static const char *skip_string(const char *at, const char *end)
{
    if (at >= end || *at != '"')
        return NULL;
    for (at++; at < end; at++) {
        if (*at == '"')
            return at + 1;
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at != '\\')
            continue;
        if (++at >= end || *at == '\0' || strchr("\"\\/bfnrtu", *at) == NULL)
            return NULL;
        if (*at == 'u' && unit(at + 1, end) < 0)
            return NULL;
    }
    return NULL;
}

/* Behind a word or a number. */
static const char *skip_word(const char *at, const char *end)
{
    const char *begin = at;
    size_t len;

    while (at < end && ((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') || *at == 'E' || *at == '+' || *at == '-' ||
                        *at == '.'))
        at++;
    len = (size_t)(at - begin);
    if ((len == 4 && (memcmp(begin, "true", 4) == 0 || memcmp(begin, "null", 4) == 0)) ||
        (len == 5 && memcmp(begin, "false", 5) == 0))
        return at;
    return len > 0 && (*begin == '-' || (*begin >= '0' && *begin <= '9')) ? at : NULL;
}

/* Behind the value that begins at `at`; NULL if there is none. */
static const char *skip_value(const char *at, const char *end, int depth)
{
    int is_object;
    char close;

    at = space(at, end);
    if (at >= end || depth > MAX_DEPTH)
        return NULL;
    if (*at == '"')
        return skip_string(at, end);
    if (*at != '{' && *at != '[')
        return skip_word(at, end);
    is_object = *at == '{';
    close = is_object ? '}' : ']';
    at = space(at + 1, end);
    if (at < end && *at == close)
        return at + 1;
    for (;;) {
        if (is_object) {
            at = skip_string(space(at, end), end);
            if (at == NULL || (at = space(at, end)) >= end || *at++ != ':')
                return NULL;
        }
        at = skip_value(at, end, depth + 1);
        if (at == NULL || (at = space(at, end)) >= end)
            return NULL;
        if (*at == close)
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

/* Whether the bytes are one value; that, without what is around it. */
static int whole(const char *data, size_t len, struct piece *out)
{
    const char *end = data + len;

    out->at = space(data, end);
    out->end = skip_value(out->at, end, 0);
    return out->end != NULL && space(out->end, end) == end;
}

/* Goes to the next member of an object, or element of an array, from `at`, which begins as NULL. */
static int step(struct piece around, const char **at, struct piece *key, struct piece *value)
{
    int is_object = around.at < around.end && *around.at == '{';

    if (*at == NULL && (around.at >= around.end || (!is_object && *around.at != '[')))
        return 0;
    *at = space(*at == NULL ? around.at + 1 : *at, around.end);
    if (*at < around.end && **at == ',')
        *at = space(*at + 1, around.end);
    if (*at >= around.end || **at == '}' || **at == ']')
        return 0;
    if (is_object) {
        key->at = *at;
        key->end = skip_string(*at, around.end);
        if (key->end == NULL || (*at = space(key->end, around.end)) >= around.end)
            return 0;
        *at = space(*at + 1, around.end);
    }
    value->at = *at;
    value->end = skip_value(*at, around.end, 0);
    if (value->end == NULL)
        return 0;
    *at = value->end;
    return 1;
}

static void add_character(struct text *out, unsigned long c)
{
    char bytes[4];
    size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4, i;

    for (i = len; i-- > 1; c >>= 6)
        bytes[i] = (char)(0x80 | (c & 0x3f));
    bytes[0] = (char)(len == 1 ? c : ((0xf00ul >> len) & 0xf0) | c);
    add(out, bytes, len);
}

/* Adds what a string says. */
static int decode(struct piece string, struct text *out)
{
    const char *at = string.at + 1, *end = string.end - 1, *plain;
    long c, low;

    if (string.end - string.at < 2 || *string.at != '"')
        return 0;
    while (at < end) {
        for (plain = at; at < end && *at != '\\'; at++)
            ;
        add(out, plain, (size_t)(at - plain));
        if (end - at < 2)
            break;
        switch (at[1]) {
        case 'b': add(out, "\b", 1); break;
        case 'f': add(out, "\f", 1); break;
        case 'n': add(out, "\n", 1); break;
        case 'r': add(out, "\r", 1); break;
        case 't': add(out, "\t", 1); break;
        case 'u':
            c = unit(at + 2, end);
            if (c >= 0xd800 && c < 0xdc00 && end - at >= 12 && at[6] == '\\' && at[7] == 'u' &&
                (low = unit(at + 8, end)) >= 0xdc00 && low < 0xe000) {
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                at += 6;
            }
            if (c < 0 || (c >= 0xd800 && c < 0xe000))
                return 0;
            add_character(out, (unsigned long)c);
            at += 4;
            break;
        default: add(out, at + 1, 1);
        }
        at += 2;
    }
    return !out->broken;
}

static int says(struct piece string, const char *what)
{
    size_t len = strlen(what);

    return (size_t)(string.end - string.at) == len + 2 && *string.at == '"' && memcmp(string.at + 1, what, len) == 0;
}

/* The member of that name, which needs no escapes. */
static int member(struct piece object, const char *name, struct piece *value)
{
    const char *at = NULL;
    struct piece key = { NULL, NULL };

    while (object.at < object.end && *object.at == '{' && step(object, &at, &key, value))
        if (says(key, name))
            return 1;
    return 0;
}

static int number(struct piece value, uint64_t max, uint64_t *out)
{
    uint64_t found = 0;
    const char *at;

    for (at = value.at; at < value.end; at++) {
        if (*at < '0' || *at > '9' || found > (max - (uint64_t)(*at - '0')) / 10)
            return 0;
        found = found * 10 + (uint64_t)(*at - '0');
    }
    *out = found;
    return value.at < value.end;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int sextet(char c)
{
    const char *at = c == '\0' ? NULL : strchr(base64_digits, c);

    return at == NULL ? -1 : (int)(at - base64_digits);
}

/* Adds the bytes of a string, or of an object {"base64": ...}. */
static int decode_bytes(struct piece value, struct text *out)
{
    size_t begin = out->len, from, to = out->len;
    struct piece encoded;
    unsigned long group = 0;
    int bits = 0, digit;

    if (value.at < value.end && *value.at == '"')
        return decode(value, out);
    if (!member(value, "base64", &encoded) || !decode(encoded, out) || (out->len - begin) % 4 != 0)
        return 0;
    while (out->len > begin && out->data[out->len - 1] == '=')
        out->len--;
    for (from = begin; from < out->len; from++) {
        digit = sextet(out->data[from]);
        if (digit < 0)
            return 0;
        group = (group << 6 | (unsigned long)digit) & 0xffff;
        bits += 6;
        if (bits >= 8) { /* never ahead of what is read */
            bits -= 8;
            out->data[to++] = (char)(group >> bits & 0xff);
        }
    }
    out->len = to;
    out->data[to] = '\0';
    return 1;
}

/* How many bytes the character at `at` has in UTF-8; 0 if it is none. */
static size_t character(const unsigned char *at, size_t len)
{
    size_t need = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0, i;

    if (need > len || (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf0 && at[1] < 0x90) ||
        (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    for (i = 1; i < need; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return need;
}

/* How many bytes JSON takes for a character of one byte beyond that one. */
static size_t escape(unsigned char c)
{
    return c == '"' || c == '\\' || c == '\n' ? 1 : c < 0x20 ? 5 : 0;
}

/* A string; what is not UTF-8 in it becomes U+FFFD. */
static void put_text(struct text *out, const char *data, size_t len)
{
    const unsigned char *at = (const unsigned char *)data;
    char escaped[8];
    size_t count;

    add(out, "\"", 1);
    for (; len > 0; at += count, len -= count) {
        count = character(at, len);
        if (count == 0) {
            add_string(out, "\\ufffd");
            count = 1;
        } else if (count > 1 || escape(*at) == 0) {
            add(out, at, count);
        } else {
            snprintf(escaped, sizeof escaped, escape(*at) > 1 ? "\\u%04x" : "\\%c", *at == '\n' ? 'n' : *at);
            add_string(out, escaped);
        }
    }
    add(out, "\"", 1);
}

/* Any bytes: a string where they are UTF-8 and not longer as such than in base64. */
static void put_bytes(struct text *out, const void *data, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)data;
    size_t at = 0, count, escapes = 0, most = len / 3 + 16;
    unsigned long group;
    char *to;

    while (at < len && escapes <= most && (count = character(bytes + at, len - at)) > 0) {
        escapes += escape(bytes[at]);
        at += count;
    }
    if (at == len && escapes <= most) {
        put_text(out, (const char *)data, len);
        return;
    }
    add_string(out, "{\"base64\":\"");
    if (!reserve(out, (len + 2) / 3 * 4))
        return;
    for (at = 0, to = out->data + out->len; at < len; at += 3, to += 4) {
        group = (unsigned long)bytes[at] << 16;
        group |= at + 1 < len ? (unsigned long)bytes[at + 1] << 8 : 0;
        group |= at + 2 < len ? bytes[at + 2] : 0;
        to[0] = base64_digits[group >> 18];
        to[1] = base64_digits[group >> 12 & 63];
        to[2] = at + 1 < len ? base64_digits[group >> 6 & 63] : '=';
        to[3] = at + 2 < len ? base64_digits[group & 63] : '=';
    }
    out->len = (size_t)(to - out->data);
    out->data[out->len] = '\0';
    add_string(out, "\"}");
}

#endif
