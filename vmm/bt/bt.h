/* SPDX-License-Identifier: MIT */
/* Engine bt: full virtualization in user space. */
#ifndef VMM_BT_BT_H
#define VMM_BT_BT_H

#include "vmm/core/engine.h"

extern const struct engine_ops bt_engine_ops;

#endif
