/* SPDX-License-Identifier: MIT */
/*
 * The 8254, after Intel's data sheet. Nothing counts: a counter is when it was loaded, and all else
 * is computed from the time when somebody looks. The clock that a load takes is left out, as KVM
 * does it. Only counter 0's rising edges leave the chip, as pulses; its gate and counter 1's are
 * high. After a reset no mode is set and nothing counts, until a control word.
 */
#include "devices/i8254.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "vmm/base/clock.h"

#define CHANNELS      3u
#define COUNT_MAX     0x10000u
#define BCD_MAX       10000u
#define LONG_AGO      0x20000u /* ticks; more than any count */
#define MODE_NONE     0xff     /* KVM's, after a reset */
#define REFRESH_NS    15085u   /* port 0x61, bit 4 */
#define CONTROL_INDEX 3u

/* The control word. */
#define WORD_BCD           0x01
#define WORD_MODE_SHIFT    1
#define WORD_MODE          7u
#define WORD_ACCESS_SHIFT  4
#define WORD_ACCESS        3u
#define WORD_CHANNEL_SHIFT 6
#define READ_BACK          3u
#define READ_BACK_COUNT    0x20 /* low: latch */
#define READ_BACK_STATUS   0x10
#define STATUS_OUT         0x80
#define STATUS_NULL        0x40

/* Port 0x61. */
#define CONTROL_GATE    0x01
#define CONTROL_SPEAKER 0x02
#define CONTROL_REFRESH 0x10
#define CONTROL_OUT     0x20

/* Which byte is next; the first three are also a control word's accesses. 0 counts as LOW. */
enum access { ACCESS_NONE, ACCESS_LOW, ACCESS_HIGH, ACCESS_WORD, ACCESS_WORD_HIGH };

struct channel {
	uint8_t mode, access, read_next, write_next, write_latch, status;
	uint16_t latch;
	uint8_t latched; /* enum access: what is to be read of the latch */
	bool status_latched, bcd, gate;
	bool loaded;      /* a count was written since the control word */
	bool running;     /* modes 1 and 5: was triggered; others: the gate lets it count */
	uint32_t count;   /* ticks */
	uint32_t next;    /* a count for when this period ends or a trigger comes; 0: none */
	uint64_t next_at; /* that end, in ticks since start_ns */
	int64_t start_ns;
	uint64_t held; /* ticks since then, while it does not run */
	uint64_t seen; /* rising edges since then that were noticed */
};

struct i8254 {
	struct bus *pio;
	struct i8254_config config;
	pthread_mutex_t lock; /* guards all below; interrupt controllers' come after it */
	struct channel channel[CHANNELS];
	bool speaker;
	int64_t fired_ns; /* counter 0's last edge */
};

static int64_t now_ns(void)
{
	return (int64_t)clock_monotonic_ns();
}

static uint64_t ticks_of(int64_t ns)
{
	if (ns <= 0)
		return 0;
	return (uint64_t)((unsigned __int128)ns * I8254_HZ / CLOCK_NS_PER_S);
}

/* Rounded up, so that by then that many have passed. */
static int64_t ns_of(uint64_t ticks)
{
	return (int64_t)(((unsigned __int128)ticks * CLOCK_NS_PER_S + I8254_HZ - 1) / I8254_HZ);
}

/* Modes 6 and 7 are 2 and 3 ("Control word format"). */
static unsigned mode_of(const struct channel *c)
{
	return c->mode == 6 || c->mode == 7 ? c->mode & 3 : c->mode;
}

static bool is_periodic(const struct channel *c)
{
	return mode_of(c) == 2 || mode_of(c) == 3;
}

static bool is_triggered(const struct channel *c)
{
	return mode_of(c) == 1 || mode_of(c) == 5;
}

static uint64_t elapsed(const struct channel *c, int64_t now)
{
	return c->running ? ticks_of(now - c->start_ns) : c->held;
}

static void start(struct channel *c, int64_t now)
{
	c->start_ns = now;
	c->held = 0;
	c->seen = 0;
}

/* Rising edges of the output since the start ("Mode definitions"). */
static uint64_t edges(const struct channel *c, uint64_t ticks)
{
	if (!c->loaded || mode_of(c) > 5)
		return 0;
	if (is_periodic(c))
		return c->running ? ticks / c->count : 0;
	if (is_triggered(c) && !c->running)
		return 0;
	/* Modes 4 and 5 strobe for one tick, and rise behind it. */
	return mode_of(c) <= 1 ? ticks >= c->count : ticks > c->count;
}

/* Take a new count whose time has come. Did the output rise since the last call? */
static bool catch_up(struct channel *c, int64_t now)
{
	bool rose = false;
	uint64_t count;

	if (c->next && is_periodic(c) && c->running && elapsed(c, now) >= c->next_at) {
		start(c, c->start_ns + ns_of(c->next_at));
		c->count = c->next;
		c->next = 0;
		rose = true;
	}
	count = edges(c, elapsed(c, now));
	rose |= count > c->seen;
	c->seen = count;
	return rose;
}

static bool output(const struct channel *c, int64_t now)
{
	uint64_t ticks = elapsed(c, now);

	if (mode_of(c) > 5)
		return false;
	if (!c->loaded)
		return mode_of(c) != 0;
	if ((is_periodic(c) && !c->gate) || (is_triggered(c) && !c->running))
		return true;
	switch (mode_of(c)) {
	case 2:
		return ticks % c->count != c->count - 1;
	case 3:
		return ticks % c->count < (c->count + 1) / 2;
	case 4:
	case 5:
		return ticks != c->count;
	default:
		return ticks >= c->count;
	}
}

static uint16_t to_bcd(uint32_t value)
{
	value %= BCD_MAX;
	return (uint16_t)(value / 1000 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 |
			  value % 10);
}

/* 0 stands for the largest. A digit above 9 counts for what it says. */
static uint32_t from_written(const struct channel *c, uint16_t value)
{
	uint32_t digits = (value >> 12) * 1000u + (value >> 8 & 15) * 100u +
			  (value >> 4 & 15) * 10u + (value & 15);

	if (value == 0)
		return c->bcd ? BCD_MAX : COUNT_MAX;
	return c->bcd ? digits : value;
}

/* The counting element. Mode 3 goes down by twos, twice a period. */
static uint16_t current(const struct channel *c, int64_t now)
{
	uint32_t wrap = c->bcd ? BCD_MAX : COUNT_MAX, value, half;
	uint64_t ticks = elapsed(c, now);

	if (!c->loaded)
		return 0;
	if (mode_of(c) == 2) {
		value = c->count - (uint32_t)(ticks % c->count);
	} else if (mode_of(c) == 3) {
		half = (c->count + 1) / 2;
		value = (uint32_t)(ticks % c->count);
		value = (c->count & ~1u) - 2 * (value < half ? value : value - half);
	} else {
		value = c->count % wrap + wrap - (uint32_t)(ticks % wrap);
	}
	return c->bcd ? to_bcd(value) : (uint16_t)value;
}

/* A count is complete. */
static void load(struct channel *c, uint16_t written, int64_t now)
{
	uint32_t count = from_written(c, written);

	if (c->loaded && is_periodic(c) && c->running) {
		c->next = count;
		c->next_at = (elapsed(c, now) / c->count + 1) * c->count;
		return;
	}
	if (c->loaded && is_triggered(c)) {
		c->next = count;
		return;
	}
	c->loaded = true;
	c->count = count;
	c->next = 0;
	c->running = c->gate && !is_triggered(c);
	start(c, now);
}

static void count_write(struct channel *c, uint8_t value, int64_t now)
{
	if (c->mode == MODE_NONE)
		return;
	switch (c->write_next) {
	case ACCESS_WORD:
		c->write_latch = value;
		c->write_next = ACCESS_WORD_HIGH;
		if (mode_of(c) == 0) { /* stops, and the output is low ("Mode 0") */
			c->loaded = false;
			c->running = false;
		}
		break;
	case ACCESS_WORD_HIGH:
		c->write_next = ACCESS_WORD;
		load(c, (uint16_t)(c->write_latch | value << 8), now);
		break;
	case ACCESS_HIGH:
		load(c, (uint16_t)(value << 8), now);
		break;
	default:
		load(c, value, now);
		break;
	}
}

/* The next byte of a 16-bit value, and which comes then. */
static uint8_t byte_of(uint16_t value, uint8_t *next)
{
	switch (*next) {
	case ACCESS_WORD:
		*next = ACCESS_WORD_HIGH;
		return (uint8_t)value;
	case ACCESS_WORD_HIGH:
		*next = ACCESS_WORD;
		return (uint8_t)(value >> 8);
	case ACCESS_HIGH:
		return (uint8_t)(value >> 8);
	default:
		return (uint8_t)value;
	}
}

static uint8_t count_read(struct channel *c, int64_t now)
{
	uint8_t value;

	if (c->status_latched) { /* goes before a latched count ("Read-back command") */
		c->status_latched = false;
		return c->status;
	}
	if (!c->latched)
		return byte_of(current(c, now), &c->read_next);
	if (c->latched == ACCESS_WORD) {
		c->latched = ACCESS_HIGH;
		return (uint8_t)c->latch;
	}
	value = byte_of(c->latch, &c->latched);
	c->latched = ACCESS_NONE;
	return value;
}

/* Another one before it was read is ignored ("Counter latch command"). */
static void count_latch(struct channel *c, int64_t now)
{
	if (c->latched)
		return;
	c->latch = current(c, now);
	c->latched = c->access ? c->access : ACCESS_LOW;
}

static void status_latch(struct channel *c, int64_t now)
{
	bool null = !c->loaded || c->next || (is_triggered(c) && !c->running);

	if (c->status_latched)
		return;
	c->status_latched = true;
	c->status = (uint8_t)((output(c, now) ? STATUS_OUT : 0) | (null ? STATUS_NULL : 0) |
			      c->access << WORD_ACCESS_SHIFT |
			      (c->mode & WORD_MODE) << WORD_MODE_SHIFT | c->bcd);
}

static void read_back(struct i8254 *pit, uint8_t value, int64_t now)
{
	for (unsigned i = 0; i < CHANNELS; i++) {
		if (!(value & 2u << i))
			continue;
		if (!(value & READ_BACK_COUNT))
			count_latch(&pit->channel[i], now);
		if (!(value & READ_BACK_STATUS))
			status_latch(&pit->channel[i], now);
	}
}

static void control_write(struct i8254 *pit, uint8_t value, int64_t now)
{
	unsigned which = value >> WORD_CHANNEL_SHIFT;
	uint8_t access = value >> WORD_ACCESS_SHIFT & WORD_ACCESS;
	struct channel *c;

	if (which == READ_BACK) {
		read_back(pit, value, now);
		return;
	}
	c = &pit->channel[which];
	if (access == ACCESS_NONE) {
		count_latch(c, now);
		return;
	}
	*c = (struct channel){
		.mode = value >> WORD_MODE_SHIFT & WORD_MODE,
		.access = access,
		.read_next = access,
		.write_next = access,
		.bcd = value & WORD_BCD,
		.gate = c->gate,
	};
}

/* "Gate pin operations summary". */
static void gate_set(struct channel *c, bool level, int64_t now)
{
	bool rose = level && !c->gate, fell = !level && c->gate;

	c->gate = level;
	if (!c->loaded || mode_of(c) > 5)
		return;
	if (rose && (is_periodic(c) || is_triggered(c))) {
		c->count = c->next ? c->next : c->count;
		c->next = 0;
		c->running = true;
		start(c, now);
	} else if (rose) {
		c->running = true;
		c->start_ns = now - ns_of(c->held);
	} else if (fell && !is_triggered(c)) {
		c->held = elapsed(c, now);
		c->running = false;
	}
}

/* All counters up to now, and counter 0's edge out. */
static int64_t update(struct i8254 *pit)
{
	int64_t now = now_ns();

	catch_up(&pit->channel[1], now);
	catch_up(&pit->channel[2], now);
	if (catch_up(&pit->channel[0], now)) {
		pit->fired_ns = now;
		pit->config.irq(pit->config.arg, true);
		pit->config.irq(pit->config.arg, false);
	}
	return now;
}

void i8254_tick(struct i8254 *pit)
{
	pthread_mutex_lock(&pit->lock);
	update(pit);
	pthread_mutex_unlock(&pit->lock);
}

uint64_t i8254_deadline(struct i8254 *pit)
{
	const struct channel *c = &pit->channel[0];
	int64_t deadline = 0, soonest;

	pthread_mutex_lock(&pit->lock);
	if (!c->loaded || !c->running || mode_of(c) > 5)
		goto out;
	if (is_periodic(c)) {
		deadline = c->start_ns + ns_of((c->seen + 1) * c->count);
		soonest = pit->fired_ns + (int64_t)I8254_TICK_MIN_NS;
		if (pit->fired_ns && deadline < soonest)
			deadline = soonest;
	} else if (!c->seen) {
		deadline = c->start_ns + ns_of(c->count + (mode_of(c) >= 4));
	}
	if (deadline < 0)
		deadline = 1;
out:
	pthread_mutex_unlock(&pit->lock);
	return (uint64_t)deadline;
}

static uint64_t pit_read(void *device, uint64_t offset, unsigned size)
{
	struct i8254 *pit = device;
	uint64_t value = 0;
	int64_t now;

	pthread_mutex_lock(&pit->lock);
	now = update(pit);
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = 0xff; /* the control word cannot be read */

		if (offset + i < CONTROL_INDEX)
			byte = count_read(&pit->channel[offset + i], now);
		value |= (uint64_t)byte << 8 * i;
	}
	pthread_mutex_unlock(&pit->lock);
	return value;
}

static void pit_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct i8254 *pit = device;
	int64_t now;

	pthread_mutex_lock(&pit->lock);
	now = update(pit);
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = (uint8_t)(value >> 8 * i);

		if (offset + i < CONTROL_INDEX)
			count_write(&pit->channel[offset + i], byte, now);
		else
			control_write(pit, byte, now);
	}
	pthread_mutex_unlock(&pit->lock);
	pit->config.changed(pit->config.arg);
}

static uint64_t control_port_read(void *device, uint64_t offset, unsigned size)
{
	struct i8254 *pit = device;
	const struct channel *c = &pit->channel[2];
	uint64_t value;
	int64_t now;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&pit->lock);
	now = update(pit);
	value = (c->gate ? CONTROL_GATE : 0) | (pit->speaker ? CONTROL_SPEAKER : 0) |
		(output(c, now) ? CONTROL_OUT : 0) |
		((uint64_t)now / REFRESH_NS % 2 ? CONTROL_REFRESH : 0);
	pthread_mutex_unlock(&pit->lock);
	return value;
}

static void control_port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct i8254 *pit = device;

	(void)offset;
	(void)size;
	pthread_mutex_lock(&pit->lock);
	gate_set(&pit->channel[2], value & CONTROL_GATE, update(pit));
	pit->speaker = value & CONTROL_SPEAKER;
	pthread_mutex_unlock(&pit->lock);
}

static const struct bus_ops pit_ops = {.read = pit_read, .write = pit_write};
static const struct bus_ops control_ops = {.read = control_port_read, .write = control_port_write};

void i8254_reset(struct i8254 *pit)
{
	pthread_mutex_lock(&pit->lock);
	for (unsigned i = 0; i < CHANNELS; i++)
		pit->channel[i] = (struct channel){.mode = MODE_NONE, .gate = i != 2};
	pit->speaker = false;
	pit->fired_ns = 0;
	pthread_mutex_unlock(&pit->lock);
}

static void channel_get(const struct channel *c, int64_t now, struct pit_channel_state *out)
{
	*out = (struct pit_channel_state){
		.count = c->loaded ? c->count : 0,
		.latched_count = c->latch,
		.count_latched = c->latched,
		.status_latched = c->status_latched,
		.status = c->status,
		.read_state = c->read_next,
		.write_state = c->write_next,
		.write_latch = c->write_latch,
		.rw_mode = c->access,
		.mode = c->mode,
		.bcd = c->bcd,
		.gate = c->gate,
		.load_time = c->running ? c->start_ns : now - ns_of(c->held),
	};
	if (!c->loaded)
		out->load_time = 0;
	else if (!is_periodic(c) && (c->seen || (is_triggered(c) && !c->running)))
		out->load_time = -1;
	if (c->loaded && c->next && is_periodic(c)) { /* as if it were that time already */
		out->count = c->next;
		out->load_time = c->start_ns + ns_of(c->next_at);
	}
}

static void channel_set(struct channel *c, int64_t now, const struct pit_channel_state *in)
{
	int64_t from = in->load_time;

	*c = (struct channel){
		.mode = in->mode,
		.access = in->rw_mode,
		.read_next = in->read_state,
		.write_next = in->write_state,
		.write_latch = in->write_latch,
		.status = in->status,
		.latch = in->latched_count,
		.latched = in->count_latched,
		.status_latched = in->status_latched,
		.bcd = in->bcd,
		.gate = in->gate,
		.loaded = in->count && in->mode != MODE_NONE,
		.count = in->count,
	};
	if (!c->loaded)
		return;
	if (from < 0)
		from = now - ns_of(LONG_AGO);
	/* Of another host's clock, perhaps. */
	if (from == 0 || from > now + ns_of(COUNT_MAX))
		from = now;
	c->start_ns = from;
	c->running = c->gate || is_triggered(c);
	if (!c->running)
		c->held = ticks_of(now - from);
	/* What a one-shot has still to do it does, be it late. */
	if (is_periodic(c) || in->load_time < 0)
		catch_up(c, now);
}

void i8254_state_get(struct i8254 *pit, struct pit_channel_state out[3], uint32_t *flags)
{
	int64_t now;

	pthread_mutex_lock(&pit->lock);
	now = update(pit);
	for (unsigned i = 0; i < CHANNELS; i++)
		channel_get(&pit->channel[i], now, &out[i]);
	*flags = pit->speaker ? I8254_FLAG_SPEAKER : 0;
	pthread_mutex_unlock(&pit->lock);
}

static bool state_valid(const struct pit_channel_state *state)
{
	return state->count <= COUNT_MAX && state->count_latched <= ACCESS_WORD &&
	       state->status_latched <= 1 && state->read_state <= ACCESS_WORD_HIGH &&
	       state->write_state <= ACCESS_WORD_HIGH && state->rw_mode <= ACCESS_WORD &&
	       (state->mode <= WORD_MODE || state->mode == MODE_NONE) && state->bcd <= 1 &&
	       state->gate <= 1;
}

int i8254_state_set(struct i8254 *pit, const struct pit_channel_state in[3], uint32_t flags)
{
	int64_t now;

	if (flags & ~I8254_FLAG_SPEAKER || !in[0].gate || !in[1].gate)
		return -EINVAL;
	for (unsigned i = 0; i < CHANNELS; i++)
		if (!state_valid(&in[i]))
			return -EINVAL;
	pthread_mutex_lock(&pit->lock);
	now = now_ns();
	for (unsigned i = 0; i < CHANNELS; i++)
		channel_set(&pit->channel[i], now, &in[i]);
	pit->speaker = flags & I8254_FLAG_SPEAKER;
	pit->fired_ns = 0;
	pthread_mutex_unlock(&pit->lock);
	pit->config.changed(pit->config.arg);
	return 0;
}

int i8254_create(struct bus *pio, const struct i8254_config *config, struct i8254 **out)
{
	struct i8254 *pit = calloc(1, sizeof(*pit));
	int ret;

	if (!pit)
		return -ENOMEM;
	pit->pio = pio;
	pit->config = *config;
	pthread_mutex_init(&pit->lock, NULL);
	i8254_reset(pit);
	ret = bus_add(pio, I8254_PORT, CHANNELS + 1, &pit_ops, pit);
	if (ret == 0)
		ret = bus_add(pio, I8254_CONTROL_PORT, 1, &control_ops, pit);
	if (ret) {
		i8254_destroy(pit);
		return ret;
	}
	*out = pit;
	return 0;
}

void i8254_destroy(struct i8254 *pit)
{
	if (!pit)
		return;
	bus_remove(pit->pio, I8254_PORT, pit);
	bus_remove(pit->pio, I8254_CONTROL_PORT, pit);
	pthread_mutex_destroy(&pit->lock);
	free(pit);
}
