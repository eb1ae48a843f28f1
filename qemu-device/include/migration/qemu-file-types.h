#include "migration/vmstate.h"
