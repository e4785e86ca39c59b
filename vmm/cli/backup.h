/* SPDX-License-Identifier: MIT */
/* lodge snapshot export and import. */
#ifndef VMM_CLI_BACKUP_H
#define VMM_CLI_BACKUP_H

#include "vmm/cli/verbs.h"

int backup_cmd_export(const struct options *o, const struct verb_words *w, struct error *err);
int backup_cmd_import(const struct options *o, const struct verb_words *w, struct error *err);

#endif
