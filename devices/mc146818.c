/* SPDX-License-Identifier: MIT */
/*
 * The real-time clock. Time is not counted but computed at each access: host time plus an offset. A
 * timer runs only while an interrupt is enabled. While the SET bit holds the clock, the guest
 * writes the time registers, and clearing it computes the new offset.
 */
#include "devices/mc146818.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/base/clock.h"

#define CMOS_SIZE     128u
#define SECONDS_A_DAY 86400

enum {
	REG_SECONDS,
	REG_SECONDS_ALARM,
	REG_MINUTES,
	REG_MINUTES_ALARM,
	REG_HOURS,
	REG_HOURS_ALARM,
	REG_WEEKDAY,
	REG_DAY,
	REG_MONTH,
	REG_YEAR,
	REG_A,
	REG_B,
	REG_C,
	REG_D,
	REG_CENTURY = 0x32,
};

#define A_UPDATING 0x80
#define A_RATE     0x0f
#define B_SET      0x80
#define B_PERIODIC 0x40
#define B_ALARM    0x20
#define B_UPDATE   0x10
#define B_BINARY   0x04
#define B_24H      0x02
#define C_REQUEST  0x80
#define D_VALID    0x80
#define HOUR_PM    0x80
#define ALARM_ANY  0xc0 /* both top bits: matches every value */

#define EVENTS (B_PERIODIC | B_ALARM | B_UPDATE) /* the same bits in B and in C */

#define CRYSTAL_HZ       32768ull
#define UPDATE_NOTICE_NS 244000ull /* UIP rises this long before an update */

struct mc146818 {
	struct bus *pio;
	struct irq_line irq;
	struct loop_source *timer;
	pthread_mutex_t lock; /* guards all below */
	uint8_t index;
	uint8_t cmos[CMOS_SIZE];
	int64_t offset_s;         /* guest time less host time */
	uint64_t period_start_ns; /* CLOCK_MONOTONIC */
	time_t last_second;       /* guest time up to which updates were reported */
};

static time_t guest_seconds(const struct mc146818 *rtc)
{
	return (time_t)(clock_realtime_ns() / CLOCK_NS_PER_S) + rtc->offset_s;
}

static uint8_t encode(const struct mc146818 *rtc, int value)
{
	if (rtc->cmos[REG_B] & B_BINARY)
		return (uint8_t)value;
	return (uint8_t)(value / 10 << 4 | value % 10);
}

static int decode(const struct mc146818 *rtc, uint8_t value)
{
	if (rtc->cmos[REG_B] & B_BINARY)
		return value;
	return (value >> 4) * 10 + (value & 15);
}

static uint8_t encode_hour(const struct mc146818 *rtc, int hour)
{
	uint8_t half;

	if (rtc->cmos[REG_B] & B_24H)
		return encode(rtc, hour);
	half = encode(rtc, hour % 12 ? hour % 12 : 12);
	return hour >= 12 ? half | HOUR_PM : half;
}

static int decode_hour(const struct mc146818 *rtc, uint8_t value)
{
	if (rtc->cmos[REG_B] & B_24H)
		return decode(rtc, value);
	return decode(rtc, value & ~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0);
}

/* Guest time into the registers. */
static void time_load(struct mc146818 *rtc, time_t now)
{
	struct tm tm;

	if (!gmtime_r(&now, &tm))
		return; /* a year that no one can write down: the registers stand still */
	rtc->cmos[REG_SECONDS] = encode(rtc, tm.tm_sec);
	rtc->cmos[REG_MINUTES] = encode(rtc, tm.tm_min);
	rtc->cmos[REG_HOURS] = encode_hour(rtc, tm.tm_hour);
	rtc->cmos[REG_WEEKDAY] = encode(rtc, tm.tm_wday + 1);
	rtc->cmos[REG_DAY] = encode(rtc, tm.tm_mday);
	rtc->cmos[REG_MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->cmos[REG_YEAR] = encode(rtc, (tm.tm_year + 1900) % 100);
	rtc->cmos[REG_CENTURY] = encode(rtc, (tm.tm_year + 1900) / 100 % 100);
}

/* The registers become guest time. */
static void time_store(struct mc146818 *rtc)
{
	struct tm tm = {
		.tm_sec = decode(rtc, rtc->cmos[REG_SECONDS]),
		.tm_min = decode(rtc, rtc->cmos[REG_MINUTES]),
		.tm_hour = decode_hour(rtc, rtc->cmos[REG_HOURS]),
		.tm_mday = decode(rtc, rtc->cmos[REG_DAY]),
		.tm_mon = decode(rtc, rtc->cmos[REG_MONTH]) - 1,
		.tm_year = decode(rtc, rtc->cmos[REG_CENTURY]) * 100 +
			   decode(rtc, rtc->cmos[REG_YEAR]) - 1900,
	};

	rtc->offset_s += timegm(&tm) - guest_seconds(rtc);
	rtc->last_second = guest_seconds(rtc);
}

/* Nanoseconds between periodic events; 0: none (data sheet, table 5). */
static uint64_t period_ns(const struct mc146818 *rtc)
{
	unsigned rate = rtc->cmos[REG_A] & A_RATE;

	if (rate == 0)
		return 0;
	if (rate < 3)
		rate += 7;
	return (CLOCK_NS_PER_S << (rate - 1)) / CRYSTAL_HZ;
}

static bool alarm_field(uint8_t alarm, uint8_t now)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || alarm == now;
}

static bool alarm_matches(const struct mc146818 *rtc, time_t second)
{
	int of_day = (int)((second % SECONDS_A_DAY + SECONDS_A_DAY) % SECONDS_A_DAY);
	const uint8_t *c = rtc->cmos;

	return alarm_field(c[REG_SECONDS_ALARM], encode(rtc, of_day % 60)) &&
	       alarm_field(c[REG_MINUTES_ALARM], encode(rtc, of_day / 60 % 60)) &&
	       alarm_field(c[REG_HOURS_ALARM], encode_hour(rtc, of_day / 3600));
}

/* Was the alarm due behind `from`, up to `to`? We may look late; a day has all there are. */
static bool alarm_due(const struct mc146818 *rtc, time_t from, time_t to)
{
	if (from > to || to - from > SECONDS_A_DAY)
		from = from > to ? to - 1 : to - SECONDS_A_DAY;
	for (time_t second = from + 1; second <= to; second++)
		if (alarm_matches(rtc, second))
			return true;
	return false;
}

/* Events since the last look, into register C. */
static void events_update(struct mc146818 *rtc)
{
	uint64_t period = period_ns(rtc), now = clock_monotonic_ns();
	time_t second = guest_seconds(rtc);

	if (period && now - rtc->period_start_ns >= period) {
		rtc->cmos[REG_C] |= B_PERIODIC;
		rtc->period_start_ns = now - (now - rtc->period_start_ns) % period;
	}
	if (rtc->cmos[REG_B] & B_SET)
		return;
	time_load(rtc, second);
	if (rtc->last_second == second)
		return;
	rtc->cmos[REG_C] |= B_UPDATE;
	if (alarm_due(rtc, rtc->last_second, second))
		rtc->cmos[REG_C] |= B_ALARM;
	rtc->last_second = second;
}

static void interrupt_update(struct mc146818 *rtc)
{
	bool request = rtc->cmos[REG_C] & rtc->cmos[REG_B] & EVENTS;

	if (request == !!(rtc->cmos[REG_C] & C_REQUEST))
		return;
	rtc->cmos[REG_C] ^= C_REQUEST;
	irq_line_set(&rtc->irq, request);
}

/*
 * Wake up for the next event that the guest wants to be interrupted by. While it has not seen to
 * the last one there is nothing to add: a guest that leaves 8192 Hz unattended costs nothing.
 */
static void timer_update(struct mc146818 *rtc)
{
	uint64_t now = clock_monotonic_ns(), next = 0;
	uint64_t into_second = clock_realtime_ns() % CLOCK_NS_PER_S;

	if (rtc->cmos[REG_C] & C_REQUEST) {
		loop_timer_arm(rtc->timer, 0);
		return;
	}
	if (rtc->cmos[REG_B] & (B_ALARM | B_UPDATE))
		next = now + CLOCK_NS_PER_S - into_second;
	if (rtc->cmos[REG_B] & B_PERIODIC && period_ns(rtc)) {
		uint64_t tick = rtc->period_start_ns + period_ns(rtc);

		if (tick < now)
			tick = now + 1;
		if (!next || tick < next)
			next = tick;
	}
	loop_timer_arm(rtc->timer, next);
}

static void timer_fired(void *arg, uint32_t events)
{
	struct mc146818 *rtc = arg;

	(void)events;
	pthread_mutex_lock(&rtc->lock);
	events_update(rtc);
	interrupt_update(rtc);
	timer_update(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

static uint8_t register_a(const struct mc146818 *rtc)
{
	uint64_t left = CLOCK_NS_PER_S - clock_realtime_ns() % CLOCK_NS_PER_S;
	bool updating = left <= UPDATE_NOTICE_NS && !(rtc->cmos[REG_B] & B_SET);

	return (rtc->cmos[REG_A] & ~A_UPDATING) | (updating ? A_UPDATING : 0);
}

static uint8_t register_c(struct mc146818 *rtc)
{
	uint8_t value = rtc->cmos[REG_C];

	rtc->cmos[REG_C] = 0; /* reading acknowledges */
	if (value & C_REQUEST) {
		irq_line_set(&rtc->irq, false);
		timer_update(rtc);
	}
	return value;
}

static uint8_t cmos_read(struct mc146818 *rtc)
{
	events_update(rtc);
	switch (rtc->index) {
	case REG_A:
		return register_a(rtc);
	case REG_C:
		return register_c(rtc);
	case REG_D:
		return D_VALID;
	default:
		return rtc->cmos[rtc->index];
	}
}

static bool is_time(unsigned index)
{
	return (index <= REG_YEAR && index != REG_SECONDS_ALARM && index != REG_MINUTES_ALARM &&
		index != REG_HOURS_ALARM) ||
	       index == REG_CENTURY;
}

static void cmos_write(struct mc146818 *rtc, uint8_t value)
{
	uint8_t old = rtc->cmos[rtc->index];
	bool released; /* from SET */

	if (rtc->index == REG_C || rtc->index == REG_D)
		return; /* read-only */
	events_update(rtc);
	rtc->cmos[rtc->index] = value;
	released = rtc->index == REG_B && old & B_SET;
	if ((released || is_time(rtc->index)) && !(rtc->cmos[REG_B] & B_SET))
		time_store(rtc);
	interrupt_update(rtc);
	timer_update(rtc);
}

/* Port 0x70 selects (bit 7 masks NMI on a PC and is not part of the index), 0x71 is the data. */
static uint64_t rtc_read(void *device, uint64_t offset, unsigned size)
{
	struct mc146818 *rtc = device;
	uint8_t value;

	(void)size;
	if (offset == 0)
		return 0xff;
	pthread_mutex_lock(&rtc->lock);
	value = cmos_read(rtc);
	pthread_mutex_unlock(&rtc->lock);
	return value;
}

static void rtc_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct mc146818 *rtc = device;

	pthread_mutex_lock(&rtc->lock);
	if (offset == 0)
		rtc->index = value % CMOS_SIZE;
	if (offset == 1)
		cmos_write(rtc, (uint8_t)value);
	else if (size > 1) /* a word to 0x70 is both */
		cmos_write(rtc, (uint8_t)(value >> 8));
	pthread_mutex_unlock(&rtc->lock);
}

static const struct bus_ops rtc_ops = {.read = rtc_read, .write = rtc_write};

/* The battery keeps time and memory; only the interrupts go. */
void mc146818_reset(struct mc146818 *rtc)
{
	pthread_mutex_lock(&rtc->lock);
	rtc->index = 0;
	rtc->cmos[REG_B] &= (uint8_t)~EVENTS;
	register_c(rtc);
	timer_update(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

/* Further than any date in the registers is from any other: no sum of these overflows. */
#define SECONDS_MAX (1ll << 42)

/*
 * The alarm's and the update's past is in guest time, which runs on as a battery's does: an alarm
 * that was due in between is due at once. The period's is nanoseconds ago.
 */
struct rtc_fields {
	uint8_t index, cmos[CMOS_SIZE];
	int64_t offset_s, last_second;
	uint64_t period_age_ns;
};

static void fields_code(struct rtc_fields *f, struct codec *c)
{
	codec_begin(c, "mc146818", 0, 1);
	codec_u8(c, &f->index);
	codec_bytes(c, f->cmos, sizeof(f->cmos));
	codec_i64(c, &f->offset_s);
	codec_i64(c, &f->last_second);
	codec_u64(c, &f->period_age_ns);
	codec_check(c, f->index < CMOS_SIZE, "index");
	codec_check(c, f->offset_s >= -SECONDS_MAX && f->offset_s <= SECONDS_MAX, "offset");
	codec_check(c, f->last_second >= -SECONDS_MAX && f->last_second <= SECONDS_MAX,
		    "last second");
	codec_end(c);
}

static void fields_commit(struct mc146818 *rtc, const struct rtc_fields *f)
{
	uint64_t now = clock_monotonic_ns();

	rtc->index = f->index;
	memcpy(rtc->cmos, f->cmos, sizeof(rtc->cmos));
	rtc->offset_s = f->offset_s;
	rtc->last_second = (time_t)f->last_second;
	rtc->period_start_ns = f->period_age_ns < now ? now - f->period_age_ns : 0;
	irq_line_set(&rtc->irq, rtc->cmos[REG_C] & C_REQUEST);
	interrupt_update(rtc);
	timer_update(rtc);
}

void mc146818_state(struct mc146818 *rtc, struct codec *c)
{
	struct rtc_fields f = {0};

	pthread_mutex_lock(&rtc->lock);
	if (!codec_loading(c)) {
		f = (struct rtc_fields){
			.index = rtc->index,
			.offset_s = rtc->offset_s,
			.last_second = rtc->last_second,
			.period_age_ns = clock_monotonic_ns() - rtc->period_start_ns,
		};
		memcpy(f.cmos, rtc->cmos, sizeof(f.cmos));
	}
	fields_code(&f, c);
	if (codec_loading(c) && codec_good(c))
		fields_commit(rtc, &f);
	pthread_mutex_unlock(&rtc->lock);
}

int mc146818_create(struct bus *pio, const struct irq_line *irq, struct loop *loop,
		    struct mc146818 **out)
{
	struct mc146818 *rtc = calloc(1, sizeof(*rtc));
	int ret;

	if (!rtc)
		return -ENOMEM;
	rtc->pio = pio;
	rtc->irq = *irq;
	pthread_mutex_init(&rtc->lock, NULL);
	rtc->cmos[REG_A] = 0x26; /* 32768 Hz crystal, 1024 Hz rate */
	rtc->cmos[REG_B] = B_24H;
	rtc->period_start_ns = clock_monotonic_ns();
	rtc->last_second = guest_seconds(rtc);
	ret = loop_add_timer(loop, timer_fired, rtc, &rtc->timer);
	if (ret == 0)
		ret = bus_add(pio, MC146818_PORT, 2, &rtc_ops, rtc);
	if (ret) {
		mc146818_destroy(rtc);
		return ret;
	}
	*out = rtc;
	return 0;
}

void mc146818_destroy(struct mc146818 *rtc)
{
	if (!rtc)
		return;
	bus_remove(rtc->pio, MC146818_PORT, rtc);
	loop_remove(rtc->timer);
	pthread_mutex_destroy(&rtc->lock);
	free(rtc);
}
