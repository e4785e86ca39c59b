/* SPDX-License-Identifier: MIT */
/* See ring.h. */
#include "block/ring.h"

#include <assert.h>
#include <errno.h>

#include "vmm/base/checked.h"

int ring_open(struct ring *ring, unsigned entries, struct error *err)
{
	static const unsigned attempts[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, /* Linux 6.1 */
		IORING_SETUP_COOP_TASKRUN,                               /* 5.19 */
		0,
	};
	int ret = -EINVAL;

	ring->armed = false;
	for (unsigned i = 0; i < ARRAY_SIZE(attempts) && ret == -EINVAL; i++)
		ret = io_uring_queue_init(entries + 1, &ring->uring, attempts[i]);
	if (ret == -EPERM || ret == -ENOSYS)
		return error_set(err, ret,
				 "allow it: sysctl kernel.io_uring_disabled=0, or the container's "
				 "seccomp profile",
				 "io_uring: %s", error_name(ret));
	if (ret)
		return error_set(err, ret, "raise ulimit -l", "io_uring: %s", error_name(ret));
	return 0;
}

void ring_close(struct ring *ring)
{
	io_uring_queue_exit(&ring->uring); /* cancels the read of the eventfd */
}

struct io_uring_sqe *ring_entry(struct ring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

	assert(sqe);
	return sqe;
}

static void wake_arm(struct ring *ring, int wake_fd)
{
	struct io_uring_sqe *sqe = ring_entry(ring);

	io_uring_prep_read(sqe, wake_fd, &ring->wake_count, sizeof(ring->wake_count), 0);
	io_uring_sqe_set_data(sqe, NULL);
	ring->armed = true;
}

int ring_wait(struct ring *ring, int wake_fd, bool block,
	      void (*completed)(void *arg, void *data, int result), void *arg)
{
	struct io_uring_cqe *cqe;
	unsigned head, count = 0;
	int ret;

	if (!ring->armed)
		wake_arm(ring, wake_fd);
	ret = block ? io_uring_submit_and_wait(&ring->uring, 1)
		    : io_uring_submit_and_get_events(&ring->uring);
	if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY)
		return ret;
	io_uring_for_each_cqe(&ring->uring, head, cqe)
	{
		void *data = io_uring_cqe_get_data(cqe);

		count++;
		if (data)
			completed(arg, data, cqe->res);
		else
			ring->armed = false;
	}
	io_uring_cq_advance(&ring->uring, count);
	return 0;
}
