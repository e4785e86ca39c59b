/* SPDX-License-Identifier: MIT */
#ifndef VMM_WORKLOAD_NANO_H
#define VMM_WORKLOAD_NANO_H

#include <stdint.h>

/* The address of queue 0's doorbell of the first virtio device, which is made ready; 0: none. */
uint64_t nano_doorbell(void);

#endif
