#include "qemu/thread.h"
