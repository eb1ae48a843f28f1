/* How a property takes its value. */
#ifndef QAPI_VISITOR_H
#define QAPI_VISITOR_H

#include "qemu/osdep.h"

bool visit_type_bool(Visitor *visitor, const char *name, bool *value, Error **errp);
bool visit_type_int(Visitor *visitor, const char *name, int64_t *value, Error **errp);
bool visit_type_int8(Visitor *visitor, const char *name, int8_t *value, Error **errp);
bool visit_type_int16(Visitor *visitor, const char *name, int16_t *value, Error **errp);
bool visit_type_int32(Visitor *visitor, const char *name, int32_t *value, Error **errp);
bool visit_type_int64(Visitor *visitor, const char *name, int64_t *value, Error **errp);
bool visit_type_uint8(Visitor *visitor, const char *name, uint8_t *value, Error **errp);
bool visit_type_uint16(Visitor *visitor, const char *name, uint16_t *value, Error **errp);
bool visit_type_uint32(Visitor *visitor, const char *name, uint32_t *value, Error **errp);
bool visit_type_uint64(Visitor *visitor, const char *name, uint64_t *value, Error **errp);
bool visit_type_size(Visitor *visitor, const char *name, uint64_t *value, Error **errp);
/* The text is the caller's to free. */
bool visit_type_str(Visitor *visitor, const char *name, char **value, Error **errp);

#endif
