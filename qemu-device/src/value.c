/* Values of properties, from text. */
#include "hw/qdev-properties.h"
#include "internal.h"

static bool parse_bool(const char *text, bool *value)
{
    static const char *const on[] = { "on", "true", "yes", "y", "1" };
    static const char *const off[] = { "off", "false", "no", "n", "0" };
    for (size_t i = 0; i < ARRAY_SIZE(on); i++) {
        if (strcmp(text, on[i]) == 0 || strcmp(text, off[i]) == 0) {
            *value = strcmp(text, on[i]) == 0;
            return true;
        }
    }
    return false;
}

/* The factor that a size's last letter stands for; 0 for another letter. */
static uint64_t factor_of(const char *suffix)
{
    static const char letters[] = "BKMGTPE";
    const char *found = *suffix ? strchr(letters, toupper((unsigned char)*suffix)) : NULL;
    return found && suffix[1] == '\0' ? UINT64_C(1) << (10 * (found - letters)) : 0;
}

static bool parse_unsigned(const char *text, uint64_t max, bool suffixes, uint64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 0);
    if (end == text || errno != 0 || strchr(text, '-')) {
        return false;
    }
    if (*end != '\0') {
        uint64_t factor = suffixes ? factor_of(end) : 0;
        if (factor == 0 || *value > UINT64_MAX / factor) {
            return false;
        }
        *value *= factor;
    }
    return *value <= max;
}

static bool parse_signed(const char *text, int64_t min, int64_t max, int64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 0);
    return end != text && *end == '\0' && errno == 0 && *value >= min && *value <= max;
}

static bool invalid(const char *name, const char *text, const char *expected, Error **errp)
{
    error_setg(errp, "invalid value of the property \"%s\": %s; expected %s", name, text,
               expected);
    return false;
}

#define VISIT_UNSIGNED(bits) \
    bool visit_type_uint##bits(Visitor *visitor, const char *name, uint##bits##_t *value, \
                               Error **errp) \
    { \
        uint64_t wide; \
        if (!parse_unsigned(visitor->text, UINT##bits##_MAX, false, &wide)) { \
            return invalid(name, visitor->text, "a number of " #bits " bits", errp); \
        } \
        *value = wide; \
        return true; \
    }
VISIT_UNSIGNED(8)
VISIT_UNSIGNED(16)
VISIT_UNSIGNED(32)
VISIT_UNSIGNED(64)

#define VISIT_SIGNED(bits) \
    bool visit_type_int##bits(Visitor *visitor, const char *name, int##bits##_t *value, \
                              Error **errp) \
    { \
        int64_t wide; \
        if (!parse_signed(visitor->text, INT##bits##_MIN, INT##bits##_MAX, &wide)) { \
            return invalid(name, visitor->text, "a number of " #bits " bits", errp); \
        } \
        *value = wide; \
        return true; \
    }
VISIT_SIGNED(8)
VISIT_SIGNED(16)
VISIT_SIGNED(32)
VISIT_SIGNED(64)

bool visit_type_int(Visitor *visitor, const char *name, int64_t *value, Error **errp)
{
    return visit_type_int64(visitor, name, value, errp);
}

bool visit_type_size(Visitor *visitor, const char *name, uint64_t *value, Error **errp)
{
    if (!parse_unsigned(visitor->text, UINT64_MAX, true, value)) {
        return invalid(name, visitor->text, "a size, such as 4096 or 16M", errp);
    }
    return true;
}

bool visit_type_bool(Visitor *visitor, const char *name, bool *value, Error **errp)
{
    return parse_bool(visitor->text, value) || invalid(name, visitor->text, "on or off", errp);
}

bool visit_type_str(Visitor *visitor, const char *name, char **value, Error **errp)
{
    *value = g_strdup(visitor->text);
    return true;
}

/* Fields of devices, by the kinds of their properties. */
#define UNSIGNED_FIELD(kind, type, max, suffixes) \
    static bool parse_##kind(const Property *property, void *field, const char *text) \
    { \
        uint64_t value; \
        bool valid = parse_unsigned(text, max, suffixes, &value); \
        if (valid) { \
            *(type *)field = value; \
        } \
        return valid; \
    } \
    const PropertyInfo qdev_prop_##kind = { #kind, parse_##kind, sizeof(type) };
UNSIGNED_FIELD(uint8, uint8_t, UINT8_MAX, false)
UNSIGNED_FIELD(uint16, uint16_t, UINT16_MAX, false)
UNSIGNED_FIELD(uint32, uint32_t, UINT32_MAX, false)
UNSIGNED_FIELD(uint64, uint64_t, UINT64_MAX, false)
UNSIGNED_FIELD(size, uint64_t, UINT64_MAX, true)

#define SIGNED_FIELD(kind, type, min, max) \
    static bool parse_##kind(const Property *property, void *field, const char *text) \
    { \
        int64_t value; \
        bool valid = parse_signed(text, min, max, &value); \
        if (valid) { \
            *(type *)field = value; \
        } \
        return valid; \
    } \
    const PropertyInfo qdev_prop_##kind = { #kind, parse_##kind, sizeof(type) };
SIGNED_FIELD(int32, int32_t, INT32_MIN, INT32_MAX)
SIGNED_FIELD(int64, int64_t, INT64_MIN, INT64_MAX)

static bool parse_bool_field(const Property *property, void *field, const char *text)
{
    return parse_bool(text, field);
}

static bool parse_string_field(const Property *property, void *field, const char *text)
{
    *(char **)field = g_strdup(text);
    return true;
}

static bool parse_bit(const Property *property, void *field, const char *text)
{
    bool value = false;
    bool valid = parse_bool(text, &value);
    uint32_t *word = field;
    *word = deposit32(*word, property->bitnr, 1, value);
    return valid;
}

static bool parse_bit64(const Property *property, void *field, const char *text)
{
    bool value = false;
    bool valid = parse_bool(text, &value);
    uint64_t *word = field;
    *word = deposit64(*word, property->bitnr, 1, value);
    return valid;
}

const PropertyInfo qdev_prop_bool = { "bool", parse_bool_field, sizeof(bool) };
const PropertyInfo qdev_prop_string = { "string", parse_string_field, 0 };
const PropertyInfo qdev_prop_bit = { "bit", parse_bit, 0 };
const PropertyInfo qdev_prop_bit64 = { "bit", parse_bit64, 0 };
