/* SPDX-License-Identifier: MIT */
/*
 * The neutral state as sections of saved state. What is checked here is what any engine may rely
 * on; whether a CPU can be in such a state is for the engine to say.
 */
#include "vmm/core/cpu_state.h"

#include "vmm/base/checked.h"
#include "vmm/base/clock.h"

static void flag(struct codec *c, uint8_t *field)
{
	codec_u8(c, field);
	codec_check(c, *field <= 1, "a flag is neither 0 nor 1");
}

static void words(struct codec *c, uint64_t *field, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		codec_u64(c, &field[i]);
}

static void segment(struct codec *c, struct cpu_segment *s)
{
	codec_u64(c, &s->base);
	codec_u32(c, &s->limit);
	codec_u16(c, &s->selector);
	codec_u8(c, &s->type);
	flag(c, &s->s);
	codec_u8(c, &s->dpl);
	flag(c, &s->present);
	flag(c, &s->avl);
	flag(c, &s->l);
	flag(c, &s->db);
	flag(c, &s->g);
	flag(c, &s->unusable);
	codec_check(c, s->type < 16 && s->dpl < 4, "segment");
}

static void table(struct codec *c, struct cpu_table *t)
{
	codec_u64(c, &t->base);
	codec_u16(c, &t->limit);
}

static void registers(struct codec *c, struct cpu_state *s)
{
	words(c, s->gpr, CPU_GPRS);
	codec_u64(c, &s->rip);
	codec_u64(c, &s->rflags);
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		segment(c, &s->segment[i]);
	segment(c, &s->tr);
	segment(c, &s->ldt);
	table(c, &s->gdt);
	table(c, &s->idt);
	codec_u64(c, &s->cr0);
	codec_u64(c, &s->cr2);
	codec_u64(c, &s->cr3);
	codec_u64(c, &s->cr4);
	codec_u64(c, &s->cr8);
	codec_u64(c, &s->efer);
	codec_u64(c, &s->apic_base);
	words(c, s->db, ARRAY_SIZE(s->db));
	codec_u64(c, &s->dr6);
	codec_u64(c, &s->dr7);
	codec_u64(c, &s->xcr0);
}

static void events(struct codec *c, struct cpu_events *e)
{
	flag(c, &e->exception_injected);
	flag(c, &e->exception_pending);
	codec_u8(c, &e->exception_vector);
	flag(c, &e->exception_has_error);
	codec_u32(c, &e->exception_error);
	flag(c, &e->exception_has_payload);
	codec_u64(c, &e->exception_payload);
	flag(c, &e->interrupt_injected);
	codec_u8(c, &e->interrupt_vector);
	flag(c, &e->interrupt_soft);
	codec_u8(c, &e->shadow);
	flag(c, &e->nmi_injected);
	codec_u8(c, &e->nmi_pending); /* KVM counts them */
	flag(c, &e->nmi_masked);
	codec_u32(c, &e->sipi_vector);
	codec_check(c, e->exception_vector < 32, "exception");
	codec_check(c, !(e->shadow & ~(CPU_SHADOW_MOV_SS | CPU_SHADOW_STI)), "interrupt shadow");
}

void cpu_state_code(struct cpu_state *s, unsigned index, struct codec *c)
{
	uint8_t activity = (uint8_t)s->activity;

	codec_begin(c, "vcpu", index, 1);
	registers(c, s);
	codec_u8(c, &activity);
	codec_check(c, activity <= CPU_WAIT_FOR_SIPI, "activity");
	s->activity = (enum cpu_activity)activity;
	events(c, &s->events);
	codec_count(c, &s->msr_count, CPU_MSRS_MAX, "MSRs");
	for (unsigned i = 0; i < s->msr_count; i++) {
		codec_u32(c, &s->msr[i].index);
		codec_u64(c, &s->msr[i].value);
	}
	codec_bytes(c, s->lapic, sizeof(s->lapic));
	codec_count(c, &s->xsave_size, CPU_XSAVE_MAX, "bytes of XSAVE state");
	codec_bytes(c, s->xsave, s->xsave_size);
	codec_end(c);
}

static void pic(struct codec *c, struct pic_state *p)
{
	uint8_t *const field[] = {
		&p->last_irr,
		&p->irr,
		&p->imr,
		&p->isr,
		&p->priority_add,
		&p->irq_base,
		&p->read_isr,
		&p->poll,
		&p->special_mask,
		&p->init_state,
		&p->auto_eoi,
		&p->rotate_on_auto_eoi,
		&p->special_fully_nested,
		&p->init4,
		&p->elcr,
		&p->elcr_mask,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(field); i++)
		codec_u8(c, field[i]);
	codec_check(c, p->priority_add < 8 && p->init_state < 4, "8259");
}

static void ioapic(struct codec *c, struct ioapic_state *s)
{
	codec_u64(c, &s->base);
	codec_u32(c, &s->select);
	codec_u32(c, &s->id);
	codec_u32(c, &s->irr);
	words(c, s->redirection, IOAPIC_PINS);
}

/* What load_time says: nothing, that a one-shot has expired, or a time. */
enum { LOADED_NEVER, LOADED_LONG_AGO, LOADED_AT };
#define AGE_MAX (1ll << 62)

static bool is_periodic(const struct pit_channel_state *p)
{
	return (p->mode & 3) == 2 || (p->mode & 3) == 3;
}

/*
 * The time as its age: this host's clock means nothing elsewhere. Where the clock began later than
 * that, a one-shot has long expired, and a period starts again.
 */
static int64_t load_time(const struct pit_channel_state *p, uint8_t loaded, int64_t age,
			 int64_t now)
{
	if (loaded == LOADED_NEVER)
		return 0;
	if (loaded == LOADED_AT && now - age > 0)
		return now - age;
	return loaded == LOADED_AT && is_periodic(p) ? now : -1;
}

static void pit_channel(struct codec *c, struct pit_channel_state *p, int64_t now)
{
	int64_t age = p->load_time > 0 ? now - p->load_time : 0;
	uint8_t loaded = LOADED_AT;

	if (p->load_time <= 0)
		loaded = p->load_time < 0 ? LOADED_LONG_AGO : LOADED_NEVER;
	codec_u32(c, &p->count);
	codec_u16(c, &p->latched_count);
	codec_u8(c, &p->count_latched);
	codec_u8(c, &p->status_latched);
	codec_u8(c, &p->status);
	codec_u8(c, &p->read_state);
	codec_u8(c, &p->write_state);
	codec_u8(c, &p->write_latch);
	codec_u8(c, &p->rw_mode);
	codec_u8(c, &p->mode);
	flag(c, &p->bcd);
	flag(c, &p->gate);
	codec_u8(c, &loaded);
	codec_i64(c, &age);
	codec_check(c, p->count <= 0x10000, "count of the 8254");
	codec_check(c, loaded <= LOADED_AT && age >= -AGE_MAX && age <= AGE_MAX,
		    "time of the 8254");
	if (codec_loading(c) && codec_good(c))
		p->load_time = load_time(p, loaded, age, now);
}

void chips_state_code(struct chips_state *s, struct codec *c)
{
	int64_t now = (int64_t)clock_monotonic_ns();

	codec_begin(c, "chips", 0, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(s->pic); i++)
		pic(c, &s->pic[i]);
	ioapic(c, &s->ioapic);
	for (unsigned i = 0; i < ARRAY_SIZE(s->pit); i++)
		pit_channel(c, &s->pit[i], now);
	codec_u32(c, &s->pit_flags);
	codec_u64(c, &s->clock_ns);
	codec_end(c);
}
