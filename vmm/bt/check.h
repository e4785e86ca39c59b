/* SPDX-License-Identifier: MIT */
/* Lock-step: each block of translated code is held against the interpreter. See check.c. */
#ifndef VMM_BT_CHECK_H
#define VMM_BT_CHECK_H

#include <stdbool.h>
#include <stdint.h>

struct check;
struct engine_vcpu;
struct error;

int check_create(struct check **out);
void check_destroy(struct check *c);

/*
 * Let `run` carry out one block on copies of memory, the interpreter the same instructions on
 * memory itself, and compare. Returns what `run` does. Where they differ the vCPU kicks itself, and
 * check_failed tells.
 */
bool check_run(struct engine_vcpu *cpu, bool (*run)(struct engine_vcpu *cpu));

/* -EIO, with what differs in `err` and all of it in the log, if anything ever did; else 0. */
int check_failed(const struct engine_vcpu *cpu, struct error *err);

/* The copy of a host page that the block under way has. NULL: there are too many. */
uint8_t *check_page(struct engine_vcpu *cpu, const uint8_t *host, bool write);

/*
 * For mmu.c, checked or not: where an entry of a page table is read and marked, and which host page
 * goes to the interpreter's TLB.
 */
void *check_view_entry(struct engine_vcpu *cpu, void *entry);
uint8_t *check_view_page(struct engine_vcpu *cpu, uint8_t *host);

#endif
