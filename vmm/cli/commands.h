/* SPDX-License-Identifier: MIT */
/* The commands, one in a file of its own; they return the exit status. */
#ifndef VMM_CLI_COMMANDS_H
#define VMM_CLI_COMMANDS_H

struct options;

int cmd_run(const struct options *options);
int cmd_ls(const struct options *options);
int cmd_info(const struct options *options);
int cmd_console(const struct options *options);
int cmd_stop(const struct options *options);
int cmd_kill(const struct options *options);
int cmd_pause(const struct options *options);
int cmd_resume(const struct options *options);
int cmd_hibernate(const struct options *options);
int cmd_start(const struct options *options);
int cmd_rm(const struct options *options);
int cmd_doctor(const struct options *options);
int cmd_net(const struct options *options);
int cmd_port(const struct options *options);
int cmd_sg(const struct options *options);
int cmd_balancer(const struct options *options);
int cmd_volume(const struct options *options);
int cmd_snapshot(const struct options *options);
int cmd_image(const struct options *options);
int cmd_store(const struct options *options);
int cmd_drill(const struct options *options);
int cmd_completion(const struct options *options);

/* What drills that were killed left goes. */
void drill_sweep(void);

#endif
