#include "system/reset.h"
