#include "qemu-device/glib.h"
