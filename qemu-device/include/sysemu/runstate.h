#include "system/runstate.h"
