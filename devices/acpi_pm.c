/* SPDX-License-Identifier: MIT */
/* ACPI fixed hardware. Power states but S5 are not offered. Sections are of ACPI 6.4. */
#include "devices/acpi_pm.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "vmm/base/clock.h"

/* 4.8.3.1: status bits that there is an event for; a write of one clears. */
#define STATUS_TIMER        (1u << 0)
#define STATUS_GLOBAL       (1u << 5)
#define STATUS_POWER_BUTTON (1u << 8)
#define STATUS_WAKE         (1u << 15)
#define STATUS_RTC          (1u << 10)
#define ENABLE_MASK         (STATUS_TIMER | STATUS_GLOBAL | STATUS_POWER_BUTTON | STATUS_RTC)

/* 4.8.3.2.1: control. SCI_EN is fixed: there is no legacy mode to leave. */
#define CONTROL_SCI_ENABLE   (1u << 0)
#define CONTROL_TYPE_SHIFT   10
#define CONTROL_TYPE_MASK    7u
#define CONTROL_SLEEP_ENABLE (1u << 13)
#define SLEEP_TYPE_S5        5u

#define GPE_MASK (1u << ACPI_PM_GPE_GENERATION | 1u << ACPI_PM_GPE_REPLACED) /* 4.8.4.1 */

#define TIMER_HZ 3579545ull /* 4.8.3.3 */

struct acpi_pm {
	struct bus *pio;
	uint16_t port;
	struct irq_line sci;
	struct power power;
	pthread_mutex_t lock; /* guards all below */
	uint16_t status, enable, control;
	uint8_t gpe_status, gpe_enable, replaced;
	uint64_t timer_offset_ns; /* timer less the host's monotonic clock, modulo 2^64 */
};

static uint64_t timer_ns(const struct acpi_pm *pm)
{
	return clock_monotonic_ns() + pm->timer_offset_ns;
}

static uint32_t timer_value(const struct acpi_pm *pm)
{
	uint64_t ns = timer_ns(pm);

	/* In two parts, so that years of uptime do not overflow the product. */
	return (uint32_t)(ns / CLOCK_NS_PER_S * TIMER_HZ +
			  ns % CLOCK_NS_PER_S * TIMER_HZ / CLOCK_NS_PER_S);
}

static void sci_update(struct acpi_pm *pm)
{
	irq_line_set(&pm->sci,
		     (pm->status & pm->enable) != 0 || (pm->gpe_status & pm->gpe_enable) != 0);
}

/* The block as a row of bytes: any access is then a piece of it. */
static uint8_t byte_read(const struct acpi_pm *pm, unsigned offset, uint32_t timer)
{
	uint32_t event = pm->status | (uint32_t)pm->enable << 16;

	if (offset < ACPI_PM_CONTROL)
		return (uint8_t)(event >> 8 * offset);
	if (offset < ACPI_PM_CONTROL + 2)
		return (uint8_t)(pm->control >> 8 * (offset - ACPI_PM_CONTROL));
	if (offset == ACPI_PM_REPLACED)
		return pm->replaced;
	if (offset >= ACPI_PM_TIMER && offset < ACPI_PM_TIMER + 4)
		return (uint8_t)(timer >> 8 * (offset - ACPI_PM_TIMER));
	if (offset == ACPI_PM_GPE)
		return pm->gpe_status;
	return offset == ACPI_PM_GPE + 1 ? pm->gpe_enable : 0;
}

static uint64_t pm_read(void *device, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = device;
	uint64_t value = 0;
	uint32_t timer;

	pthread_mutex_lock(&pm->lock);
	timer = timer_value(pm);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)byte_read(pm, (unsigned)offset + i, timer) << 8 * i;
	pthread_mutex_unlock(&pm->lock);
	return value;
}

static void control_write(struct acpi_pm *pm, uint16_t value)
{
	unsigned type = value >> CONTROL_TYPE_SHIFT & CONTROL_TYPE_MASK;

	pm->control = (uint16_t)((value & ~CONTROL_SLEEP_ENABLE) | CONTROL_SCI_ENABLE);
	if (value & CONTROL_SLEEP_ENABLE && type == SLEEP_TYPE_S5)
		pm->power.ops->off(pm->power.arg);
}

static void byte_write(struct acpi_pm *pm, unsigned offset, uint8_t value)
{
	switch (offset) {
	case 0:
	case 1:
		pm->status &= (uint16_t) ~((uint16_t)value << 8 * offset);
		break;
	case 2:
		pm->enable = (uint16_t)((pm->enable & 0xff00) | value) & ENABLE_MASK;
		break;
	case 3:
		pm->enable = (uint16_t)((pm->enable & 0x00ff) | value << 8) & ENABLE_MASK;
		break;
	case ACPI_PM_CONTROL:
		control_write(pm, (uint16_t)((pm->control & 0xff00) | value));
		break;
	case ACPI_PM_CONTROL + 1:
		control_write(pm, (uint16_t)((pm->control & 0x00ff) | value << 8));
		break;
	case ACPI_PM_RESET:
		if (value == ACPI_PM_RESET_VALUE)
			pm->power.ops->reset(pm->power.arg);
		break;
	case ACPI_PM_REPLACED:
		pm->replaced &= (uint8_t)~value;
		break;
	case ACPI_PM_GPE:
		pm->gpe_status &= (uint8_t)~value;
		break;
	case ACPI_PM_GPE + 1:
		pm->gpe_enable = value & GPE_MASK;
		break;
	default:
		break;
	}
}

static void pm_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct acpi_pm *pm = device;

	pthread_mutex_lock(&pm->lock);
	for (unsigned i = 0; i < size; i++)
		byte_write(pm, (unsigned)offset + i, (uint8_t)(value >> 8 * i));
	sci_update(pm);
	pthread_mutex_unlock(&pm->lock);
}

static const struct bus_ops pm_ops = {.read = pm_read, .write = pm_write};

void acpi_pm_raise(struct acpi_pm *pm, unsigned event)
{
	pthread_mutex_lock(&pm->lock);
	pm->gpe_status |= (uint8_t)(1u << event);
	sci_update(pm);
	pthread_mutex_unlock(&pm->lock);
}

void acpi_pm_replace(struct acpi_pm *pm, uint8_t nics)
{
	pthread_mutex_lock(&pm->lock);
	pm->replaced |= nics;
	pthread_mutex_unlock(&pm->lock);
	acpi_pm_raise(pm, ACPI_PM_GPE_REPLACED);
}

void acpi_pm_press_power_button(struct acpi_pm *pm)
{
	pthread_mutex_lock(&pm->lock);
	pm->status |= STATUS_POWER_BUTTON;
	sci_update(pm);
	pthread_mutex_unlock(&pm->lock);
}

void acpi_pm_reset(struct acpi_pm *pm)
{
	pthread_mutex_lock(&pm->lock);
	pm->status = 0;
	pm->enable = 0;
	pm->gpe_status = pm->gpe_enable = pm->replaced = 0;
	pm->control = CONTROL_SCI_ENABLE;
	sci_update(pm);
	pthread_mutex_unlock(&pm->lock);
}

void acpi_pm_state(struct acpi_pm *pm, struct codec *c)
{
	uint16_t status = 0, enable = 0, control = 0;
	uint8_t gpe_status = 0, gpe_enable = 0, replaced = 0;
	uint64_t timer = 0;
	unsigned version;

	pthread_mutex_lock(&pm->lock);
	if (!codec_loading(c)) {
		status = pm->status;
		enable = pm->enable;
		control = pm->control;
		gpe_status = pm->gpe_status;
		gpe_enable = pm->gpe_enable;
		replaced = pm->replaced;
		timer = timer_ns(pm);
	}
	version = codec_begin(c, "acpi_pm", 0, 2);
	codec_u16(c, &status);
	codec_u16(c, &enable);
	codec_u16(c, &control);
	codec_u64(c, &timer);
	if (version >= 2) {
		codec_u8(c, &gpe_status);
		codec_u8(c, &gpe_enable);
		codec_u8(c, &replaced);
	}
	codec_check(c, !((gpe_status | gpe_enable) & ~GPE_MASK), "general-purpose events");
	codec_check(c, !(status & ~(ENABLE_MASK | STATUS_WAKE)), "status");
	codec_check(c, !(enable & ~ENABLE_MASK), "enable");
	codec_check(c,
		    (control & (CONTROL_SCI_ENABLE | CONTROL_SLEEP_ENABLE)) == CONTROL_SCI_ENABLE,
		    "control");
	codec_end(c);
	if (codec_loading(c) && codec_good(c)) {
		pm->status = status;
		pm->enable = enable;
		pm->control = control;
		pm->gpe_status = gpe_status;
		pm->gpe_enable = gpe_enable;
		pm->replaced = replaced;
		pm->timer_offset_ns = timer - clock_monotonic_ns();
		sci_update(pm);
	}
	pthread_mutex_unlock(&pm->lock);
}

int acpi_pm_create(struct bus *pio, uint16_t port, const struct irq_line *sci,
		   const struct power *power, struct acpi_pm **out)
{
	struct acpi_pm *pm = calloc(1, sizeof(*pm));
	int ret;

	if (!pm)
		return -ENOMEM;
	pm->pio = pio;
	pm->port = port;
	pm->sci = *sci;
	pm->power = *power;
	pm->control = CONTROL_SCI_ENABLE;
	pthread_mutex_init(&pm->lock, NULL);
	ret = bus_add(pio, port, ACPI_PM_PORTS, &pm_ops, pm);
	if (ret) {
		pthread_mutex_destroy(&pm->lock);
		free(pm);
		return ret;
	}
	*out = pm;
	return 0;
}

void acpi_pm_destroy(struct acpi_pm *pm)
{
	if (!pm)
		return;
	bus_remove(pm->pio, pm->port, pm);
	pthread_mutex_destroy(&pm->lock);
	free(pm);
}
