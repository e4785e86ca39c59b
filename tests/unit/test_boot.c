/* SPDX-License-Identifier: MIT */
/* Kernels into guest memory: good ones, and files that only look like ones. */
#include "tests/unit/unit.h"

#include <unistd.h>

#include "tests/unit/kernel_image.h"
#include "tests/unit/scratch.h"
#include "vmm/boot/boot.h"
#include "vmm/machine/machine_impl.h"

#define MEMORY_SIZE (64 * MIB)

struct fixture {
	struct scratch scratch;
	char kernel[SCRATCH_PATH_MAX], initrd[SCRATCH_PATH_MAX];
	struct guest_memory *memory;
	struct acpi_board board;
	struct kernel_image image;
	struct boot_config config;
	struct cpu_state cpu;
	struct error err;
};

static int setup_memory(void **state, uint64_t size)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	scratch_make(&f->scratch);
	scratch_path(&f->scratch, "kernel", f->kernel);
	scratch_path(&f->scratch, "initrd", f->initrd);
	assert_int_equal(memory_create(size, &f->memory, NULL), 0);
	f->board = board_acpi;
	f->board.vcpus = 1;
	f->config = (struct boot_config){.kernel = f->kernel, .cmdline = "console=ttyS0"};
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_memory(state, MEMORY_SIZE);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	scratch_remove(&f->scratch);
	memory_destroy(f->memory);
	free(f);
	return 0;
}

/* Open and load what stands in f->image. */
static int boot(struct fixture *f)
{
	struct boot *b;
	int ret;

	scratch_write(&f->scratch, "kernel", f->image.bytes, f->image.size);
	f->err = (struct error){0};
	memset(&f->cpu, 0, sizeof(f->cpu));
	assert_int_equal(memory_clear(f->memory, NULL), 0);
	ret = boot_open(&f->config, &b, &f->err);
	if (ret == 0) {
		ret = boot_load(b, f->memory, &f->board, &f->cpu, &f->err);
		boot_close(b);
	}
	/* Whoever fails says why. */
	assert_true(ret == 0 || f->err.what[0]);
	return ret;
}

static const uint8_t *at(struct fixture *f, uint64_t gpa, uint64_t size)
{
	const uint8_t *bytes = memory_at(f->memory, gpa, size);

	assert_non_null(bytes);
	return bytes;
}

static void give_initrd(struct fixture *f, size_t size)
{
	uint8_t *bytes = malloc(size + 1);

	assert_non_null(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i * 13 + 1);
	scratch_write(&f->scratch, "initrd", bytes, size);
	f->config.initrd = f->initrd;
	free(bytes);
}

/* bzImage. */

/* Follow the page tables that the kernel is entered with. */
static bool translate(struct fixture *f, uint64_t address, uint64_t *out)
{
	uint64_t entry = f->cpu.cr3;

	for (unsigned shift = 39; shift >= 21; shift -= 9) {
		entry = le64_get(at(f, (entry & ~0xfffull) + 8 * (address >> shift & 511), 8));
		if (!(entry & 1))
			return false;
	}
	assert_true(entry & 0x80);
	*out = (entry & ~0x1fffffull) + (address & 0x1fffff);
	return true;
}

static void bz_loads(void **state)
{
	static const uint64_t addresses[] = {0, 0x100000, 0x1234567, 0xfee00000, 0xffffffff};
	struct fixture *f = *state;
	const uint8_t *zp;
	uint64_t to;

	kernel_image_bz(&f->image);
	assert_int_equal(boot(f), 0);
	assert_memory_equal(at(f, BZIMAGE_PREFERRED, BZIMAGE_KERNEL_SIZE),
			    f->image.bytes + BZIMAGE_KERNEL, BZIMAGE_KERNEL_SIZE);
	/* boot.rst, "64-bit boot protocol". */
	assert_int_equal(f->cpu.rip, BZIMAGE_PREFERRED + 0x200);
	assert_int_equal(f->cpu.segment[CPU_CS].selector, 0x10);
	assert_int_equal(f->cpu.segment[CPU_CS].l, 1);
	assert_int_equal(f->cpu.segment[CPU_DS].selector, 0x18);
	assert_int_equal(f->cpu.rflags & 0x200, 0);
	assert_int_equal(f->cpu.cr0 & 0x80000001, 0x80000001);
	assert_int_equal(f->cpu.efer & 0x500, 0x500);
	for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++) {
		assert_true(translate(f, addresses[i], &to));
		assert_int_equal(to, addresses[i]);
	}
	assert_false(translate(f, 1ull << 39, &to));
	assert_int_equal(le64_get(at(f, f->cpu.gdt.base + 0x10, 8)) >> 53 & 1, 1); /* L */
	zp = at(f, f->cpu.gpr[CPU_RSI], 4096);
	assert_memory_equal(zp + 0x202, "HdrS", 4);
	assert_int_equal(zp[0x210], 0xff);
	assert_int_equal(le32_get(zp + 0x218), 0);
	assert_string_equal((const char *)at(f, le32_get(zp + 0x228), 64), "console=ttyS0");
	assert_memory_equal(at(f, le64_get(zp + 0x70), 8), "RSD PTR ", 8);
}

/* A kernel without a 64-bit entry: boot.rst, "32-bit boot protocol". */
static void bz_32_bit(void **state)
{
	struct fixture *f = *state;

	kernel_image_bz(&f->image);
	le16_put(f->image.bytes + 0x236, 2);
	assert_int_equal(boot(f), 0);
	assert_int_equal(f->cpu.rip, BZIMAGE_PREFERRED);
	assert_int_equal(f->cpu.cr0 & 0x80000001, 1);
	assert_int_equal(f->cpu.efer, 0);
	assert_int_equal(f->cpu.rflags & 0x200, 0);
	assert_int_equal(f->cpu.segment[CPU_CS].selector, 0x10);
	assert_int_equal(f->cpu.segment[CPU_CS].db, 1);
	assert_int_equal(f->cpu.segment[CPU_CS].l, 0);
	assert_int_equal(f->cpu.segment[CPU_SS].selector, 0x18);
	assert_int_equal(le64_get(at(f, f->cpu.gdt.base + 0x10, 8)) >> 53 & 3, 2); /* D, not L */
	assert_int_equal(f->cpu.gpr[CPU_RBP] | f->cpu.gpr[CPU_RDI] | f->cpu.gpr[CPU_RBX], 0);
	assert_memory_equal((const char *)at(f, f->cpu.gpr[CPU_RSI] + 0x202, 4), "HdrS", 4);
}

/* The memory map: ordered, without overlap, all RAM in it, and the ECAM reserved. */
static void bz_memory_map(void **state)
{
	struct fixture *f = *state;
	uint64_t last = 0, ram = 0;
	bool ecam = false;
	const uint8_t *zp;

	memory_destroy(f->memory);
	assert_int_equal(memory_create(5 * GIB, &f->memory, NULL), 0);
	kernel_image_bz(&f->image);
	assert_int_equal(boot(f), 0);
	zp = at(f, f->cpu.gpr[CPU_RSI], 4096);
	assert_true(zp[0x1e8] >= 5);
	for (unsigned i = 0; i < zp[0x1e8]; i++) {
		const uint8_t *entry = zp + 0x2d0 + 20 * i;
		uint64_t base = le64_get(entry), size = le64_get(entry + 8);

		assert_true(base >= last && size > 0);
		last = base + size;
		if (le32_get(entry + 16) == 1) {
			ram += size;
			assert_non_null(memory_at(f->memory, base, size));
		}
		ecam |= base == BOARD_ECAM && size == BOARD_ECAM_SIZE && le32_get(entry + 16) == 2;
	}
	assert_true(ecam);
	assert_int_equal(last, 6 * GIB);
	assert_int_equal(ram, 5 * GIB - (MIB - 0x9fc00));
}

static void bz_moves_to_where_there_is_room(void **state)
{
	struct fixture *f = *state;

	kernel_image_bz(&f->image);
	le64_put(f->image.bytes + 0x258, MEMORY_SIZE - 0x1000);
	assert_int_equal(boot(f), 0);
	assert_int_equal(f->cpu.rip, 0x200000 + 0x200);
	le64_put(f->image.bytes + 0x258, 0); /* nothing preferred */
	assert_int_equal(boot(f), 0);
	assert_int_equal(f->cpu.rip, 0x200000 + 0x200);
	le64_put(f->image.bytes + 0x258, 0xfffffffffffff000ull);
	assert_int_equal(boot(f), 0);
	f->image.bytes[0x234] = 0; /* cannot be moved */
	assert_int_equal(boot(f), -ENOMEM);
}

static void bz_refused(void **state)
{
	static const struct {
		const char *what;
		unsigned offset, size;
		uint64_t value;
		int result;
	} cases[] = {
		{"no boot flag", 0x1fe, 2, 0, -ENOEXEC},
		{"no magic", 0x202, 4, 0x53726449, -ENOEXEC},
		{"protocol 2.11", 0x206, 2, 0x20b, -ENOEXEC},
		{"protocol 0", 0x206, 2, 0, -ENOEXEC},
		{"zImage", 0x211, 1, 0, -ENOEXEC},
		{"no kernel behind", 0x1f4, 4, 0, -ENOEXEC},
		{"less than its entry", 0x1f4, 4, 0x20, -ENOEXEC},
		{"longer than the file", 0x1f4, 4, BZIMAGE_KERNEL_SIZE / 16 + 1, -ENODATA},
		{"huge", 0x1f4, 4, 0xffffffff, -ENODATA},
		{"setup longer than the file", 0x1f1, 1, 255, -ENODATA},
		{"init_size beyond memory", 0x260, 4, 0xffffffff, -ENOMEM},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		print_message("%s\n", cases[i].what);
		kernel_image_bz(&f->image);
		le_put(f->image.bytes + cases[i].offset, cases[i].size, cases[i].value);
		assert_int_equal(boot(f), cases[i].result);
	}
	/* An alignment that is none matters only where the kernel has to move. */
	for (unsigned i = 0; i < 3; i++) {
		static const uint32_t alignments[] = {0, 3, 0x80000000u};

		kernel_image_bz(&f->image);
		le32_put(f->image.bytes + 0x230, alignments[i]);
		assert_int_equal(boot(f), 0);
		le64_put(f->image.bytes + 0x258, 0);
		assert_int_equal(boot(f), -ENOMEM);
	}
}

/* A kernel larger than it says that it needs, into the end of memory. */
static void bz_larger_than_init_size(void **state)
{
	struct fixture *f = *state;

	kernel_image_bz(&f->image);
	le64_put(f->image.bytes + 0x258, MEMORY_SIZE - 0x800);
	le32_put(f->image.bytes + 0x260, 0x800);
	assert_int_equal(boot(f), -ENOMEM);
	kernel_image_bz(&f->image);
	le32_put(f->image.bytes + 0x260, 0);
	give_initrd(f, 100);
	assert_int_equal(boot(f), 0);
}

/* Cut off anywhere it is refused; only the last paragraph may be short. */
static void cut_everywhere(struct fixture *f, size_t whole)
{
	size_t size = f->image.size;

	for (size_t cut = 0; cut < size; cut += cut < 0x280 ? 5 : 211) {
		int ret;

		f->image.size = cut;
		ret = boot(f);
		if (cut < whole)
			assert_true(ret == -ENOEXEC || ret == -ENODATA);
		else
			assert_int_equal(ret, 0);
	}
	f->image.size = size;
	assert_int_equal(boot(f), 0);
}

static void bz_truncated(void **state)
{
	struct fixture *f = *state;

	kernel_image_bz(&f->image);
	cut_everywhere(f, f->image.size - 15);
}

static void bz_initrd(void **state)
{
	static const char overlay[] = "an archive behind the archive";
	struct fixture *f = *state;
	const uint8_t *zp;
	uint32_t base, size;

	kernel_image_bz(&f->image);
	give_initrd(f, 4099);
	f->config.overlay = overlay;
	f->config.overlay_size = sizeof(overlay);
	assert_int_equal(boot(f), 0);
	zp = at(f, f->cpu.gpr[CPU_RSI], 4096);
	base = le32_get(zp + 0x218);
	size = le32_get(zp + 0x21c);
	assert_int_equal(base % 4096, 0);
	assert_int_equal(size, 4100 + sizeof(overlay));
	assert_true(base + size <= MEMORY_SIZE);
	assert_true(base >= BZIMAGE_PREFERRED + 0x100000);
	for (unsigned i = 0; i < 4099; i++)
		assert_int_equal(at(f, base, size)[i], (uint8_t)(i * 13 + 1));
	assert_memory_equal(at(f, base + 4100, sizeof(overlay)), overlay, sizeof(overlay));
	/* The kernel's limit. */
	le32_put(f->image.bytes + 0x22c, 0x1ffffff);
	assert_int_equal(boot(f), 0);
	zp = at(f, f->cpu.gpr[CPU_RSI], 4096);
	assert_true(le32_get(zp + 0x218) + le32_get(zp + 0x21c) <= 0x2000000);
	/* The overlay alone. */
	f->config.initrd = NULL;
	assert_int_equal(boot(f), 0);
	assert_int_equal(le32_get(at(f, f->cpu.gpr[CPU_RSI], 4096) + 0x21c), sizeof(overlay));
}

static void bz_initrd_does_not_fit(void **state)
{
	struct fixture *f = *state;

	kernel_image_bz(&f->image);
	give_initrd(f, 8192);
	le32_put(f->image.bytes + 0x260, MEMORY_SIZE - BZIMAGE_PREFERRED - 8192);
	assert_int_equal(boot(f), 0); /* it just does */
	le32_put(f->image.bytes + 0x260, MEMORY_SIZE - BZIMAGE_PREFERRED - 8191);
	assert_int_equal(boot(f), -ENOMEM);
	le32_put(f->image.bytes + 0x260, MEMORY_SIZE - BZIMAGE_PREFERRED);
	assert_int_equal(boot(f), -ENOMEM);
	kernel_image_bz(&f->image);
	le32_put(f->image.bytes + 0x22c, 0); /* nowhere */
	assert_int_equal(boot(f), -ENOMEM);
	le32_put(f->image.bytes + 0x22c, 0xffffffff); /* anywhere */
	assert_int_equal(boot(f), 0);
}

static void bz_command_line(void **state)
{
	struct fixture *f = *state;
	char line[5000];

	memset(line, 'a', sizeof(line));
	line[2047] = '\0';
	f->config.cmdline = line;
	kernel_image_bz(&f->image);
	assert_int_equal(boot(f), 0);
	line[2047] = 'a';
	line[2048] = '\0';
	assert_int_equal(boot(f), -E2BIG); /* this kernel's limit */
	le32_put(f->image.bytes + 0x238, 0xffffffff);
	assert_int_equal(boot(f), 0);
	line[2048] = 'a';
	line[4095] = '\0';
	assert_int_equal(boot(f), 0);
	line[4095] = 'a';
	line[4096] = '\0';
	assert_int_equal(boot(f), -E2BIG); /* ours */
}

/* ELF. */

static void elf_loads(void **state)
{
	struct fixture *f = *state;
	const uint8_t *info, *module;

	kernel_image_elf(&f->image);
	give_initrd(f, 1000);
	assert_int_equal(boot(f), 0);
	assert_memory_equal(at(f, 0x100000, 0x1000), f->image.bytes + ELF_CODE, 0x1000);
	assert_memory_equal(at(f, 0x200000, 0x100), f->image.bytes + ELF_DATA, 0x100);
	for (unsigned i = 0x100; i < 0x2000; i++)
		assert_int_equal(at(f, 0x200000, 0x2000)[i], 0);
	/* start_info.h: 32-bit flat, paging off. */
	assert_int_equal(f->cpu.rip, ELF_ENTRY);
	assert_int_equal(f->cpu.cr0 & 0x80000001, 1);
	assert_int_equal(f->cpu.segment[CPU_CS].db, 1);
	assert_int_equal(f->cpu.segment[CPU_CS].l, 0);
	assert_int_equal(f->cpu.segment[CPU_CS].limit, 0xffffffff);
	assert_int_equal(f->cpu.tr.limit, 0x67);
	info = at(f, f->cpu.gpr[CPU_RBX], 56);
	assert_int_equal(le32_get(info), 0x336ec578);
	assert_int_equal(le32_get(info + 4), 1);
	assert_int_equal(le32_get(info + 12), 1);
	module = at(f, le64_get(info + 16), 32);
	assert_int_equal(le64_get(module + 8), 1000);
	assert_int_equal(at(f, le64_get(module), 1000)[1], 14);
	assert_true(le64_get(module) >= 0x202000);
	assert_string_equal((const char *)at(f, le64_get(info + 24), 64), "console=ttyS0");
	assert_memory_equal(at(f, le64_get(info + 32), 8), "RSD PTR ", 8);
	assert_true(le32_get(info + 48) >= 4);
	assert_int_equal(le32_get(at(f, le64_get(info + 40), 24) + 16), 1);
}

typedef void spoil_fn(struct kernel_image *image);

static void elf_class_32(struct kernel_image *i)
{
	kernel_image_ehdr(i)->e_ident[EI_CLASS] = ELFCLASS32;
}

static void elf_big_endian(struct kernel_image *i)
{
	kernel_image_ehdr(i)->e_ident[EI_DATA] = ELFDATA2MSB;
}

static void elf_other_machine(struct kernel_image *i)
{
	kernel_image_ehdr(i)->e_machine = EM_AARCH64;
}

static void elf_no_headers(struct kernel_image *i)
{
	kernel_image_ehdr(i)->e_phnum = 0;
}

static void elf_65_headers(struct kernel_image *i)
{
	kernel_image_ehdr(i)->e_phnum = 65;
}

static void elf_65535_headers(struct kernel_image *i)
{
	kernel_image_ehdr(i)->e_phnum = 0xffff;
}

static void elf_odd_header_size(struct kernel_image *i)
{
	kernel_image_ehdr(i)->e_phentsize = sizeof(Elf64_Phdr) - 1;
}

static void elf_headers_behind_file(struct kernel_image *i)
{
	kernel_image_ehdr(i)->e_phoff = i->size;
}

static void elf_headers_negative(struct kernel_image *i)
{
	kernel_image_ehdr(i)->e_phoff = ~0ull - 8;
}

static void elf_nothing_to_load(struct kernel_image *i)
{
	kernel_image_phdr(i, 0)->p_type = kernel_image_phdr(i, 1)->p_type = PT_NULL;
}

static void elf_no_note(struct kernel_image *i)
{
	kernel_image_phdr(i, 2)->p_type = PT_NULL;
}

static void elf_note_of_another(struct kernel_image *i)
{
	memcpy(i->bytes + ELF_NOTES + 24 + 12, "Yen", 4);
}

static void elf_note_without_value(struct kernel_image *i)
{
	le32_put(i->bytes + ELF_NOTES + 24 + 4, 3);
}

static void elf_note_name_huge(struct kernel_image *i)
{
	le32_put(i->bytes + ELF_NOTES, 0xffffffff);
}

static void elf_note_value_huge(struct kernel_image *i)
{
	le32_put(i->bytes + ELF_NOTES + 4, 0xfffffffd);
}

static void elf_note_one_byte_short(struct kernel_image *i)
{
	kernel_image_phdr(i, 2)->p_filesz--;
}

static void elf_notes_too_long(struct kernel_image *i)
{
	kernel_image_phdr(i, 2)->p_filesz = 1ull << 40;
}

static void elf_notes_negative(struct kernel_image *i)
{
	kernel_image_phdr(i, 2)->p_offset = ~0ull - 4;
}

static void elf_segment_low(struct kernel_image *i)
{
	kernel_image_phdr(i, 0)->p_paddr = 0xff000;
}

static void elf_segment_wraps(struct kernel_image *i)
{
	kernel_image_phdr(i, 0)->p_paddr = ~0ull - 0x800;
}

static void elf_more_file_than_memory(struct kernel_image *i)
{
	kernel_image_phdr(i, 0)->p_memsz = 0xfff;
}

static void elf_segment_cut(struct kernel_image *i)
{
	kernel_image_phdr(i, 0)->p_offset = i->size - 0xfff;
}

static void elf_segment_offset_wraps(struct kernel_image *i)
{
	kernel_image_phdr(i, 0)->p_offset = ~0ull - 0x7ff;
}

static void elf_segment_beyond_memory(struct kernel_image *i)
{
	kernel_image_phdr(i, 1)->p_memsz = MEMORY_SIZE;
}

static void elf_segment_huge(struct kernel_image *i)
{
	kernel_image_phdr(i, 1)->p_memsz = 1ull << 62;
}

#define SPOIL(name, result)                                                                        \
	{                                                                                          \
#name, name, result                                                                \
	}

static void elf_refused(void **state)
{
	static const struct {
		const char *name;
		spoil_fn *spoil;
		int result;
	} cases[] = {
		SPOIL(elf_class_32, -ENOEXEC),
		SPOIL(elf_big_endian, -ENOEXEC),
		SPOIL(elf_other_machine, -ENOEXEC),
		SPOIL(elf_no_headers, -ENOEXEC),
		SPOIL(elf_65_headers, -ENOEXEC),
		SPOIL(elf_65535_headers, -ENOEXEC),
		SPOIL(elf_odd_header_size, -ENOEXEC),
		SPOIL(elf_headers_behind_file, -ENOEXEC),
		SPOIL(elf_headers_negative, -ENOEXEC),
		SPOIL(elf_nothing_to_load, -ENOEXEC),
		SPOIL(elf_no_note, -ENOEXEC),
		SPOIL(elf_note_of_another, -ENOEXEC),
		SPOIL(elf_note_without_value, -ENOEXEC),
		SPOIL(elf_note_name_huge, -ENOEXEC),
		SPOIL(elf_note_value_huge, -ENOEXEC),
		SPOIL(elf_note_one_byte_short, -ENOEXEC),
		SPOIL(elf_notes_too_long, -ENOEXEC),
		SPOIL(elf_notes_negative, -ENOEXEC),
		SPOIL(elf_segment_low, -ENOEXEC),
		SPOIL(elf_segment_wraps, -ENOEXEC),
		SPOIL(elf_more_file_than_memory, -ENOEXEC),
		SPOIL(elf_segment_cut, -ENODATA),
		SPOIL(elf_segment_offset_wraps, -ENODATA),
		SPOIL(elf_segment_beyond_memory, -ENOMEM),
		SPOIL(elf_segment_huge, -ENOMEM),
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		print_message("%s\n", cases[i].name);
		kernel_image_elf(&f->image);
		cases[i].spoil(&f->image);
		assert_int_equal(boot(f), cases[i].result);
	}
}

static void elf_truncated(void **state)
{
	struct fixture *f = *state;

	kernel_image_elf(&f->image);
	cut_everywhere(f, f->image.size);
}

/* Both. */

/* Any byte of the headers may be any other: no crash, and an error says why. */
static void bytes_changed_at_random(void **state)
{
	static void (*const make[])(struct kernel_image * image) = {kernel_image_bz,
								    kernel_image_elf};
	static const struct {
		unsigned from, size;
	} headers[] = {{0x1f0, 0x80}, {0, 64 + 3 * 56}};
	struct fixture *f = *state;
	unsigned seed = 1;

	give_initrd(f, 100);
	for (unsigned n = 0; n < 400; n++) {
		unsigned kind = n % 2;

		make[kind](&f->image);
		for (unsigned changes = 0; changes <= n % 3; changes++) {
			unsigned offset = (unsigned)rand_r(&seed) % headers[kind].size;

			f->image.bytes[headers[kind].from + offset] = (uint8_t)rand_r(&seed);
		}
		boot(f);
	}
}

static void not_kernels(void **state)
{
	struct fixture *f = *state;

	memset(&f->image, 0, sizeof(f->image));
	assert_int_equal(boot(f), -ENOEXEC); /* empty */
	f->image.size = 10000;
	assert_int_equal(boot(f), -ENOEXEC);
	memcpy(f->image.bytes, "#!/bin/sh\n", 10);
	assert_int_equal(boot(f), -ENOEXEC);
	memcpy(f->image.bytes, ELFMAG, SELFMAG);
	f->image.size = SELFMAG;
	assert_int_equal(boot(f), -ENOEXEC);
}

static void paths(void **state)
{
	struct fixture *f = *state;
	struct boot *b;

	assert_int_equal(boot_open(&f->config, &b, &f->err), -ENOENT);
	assert_non_null(strstr(f->err.what, f->kernel));
	f->config.kernel = f->scratch.path;
	assert_int_equal(boot_open(&f->config, &b, NULL), -EINVAL);
	f->config.kernel = "/dev/zero";
	assert_int_equal(boot_open(&f->config, &b, NULL), -EINVAL);
	f->config.kernel = f->kernel;
	f->config.initrd = f->initrd;
	kernel_image_elf(&f->image);
	assert_int_equal(boot(f), -ENOENT);
	assert_non_null(strstr(f->err.what, f->initrd));
	give_initrd(f, 0); /* an empty one is none */
	assert_int_equal(boot(f), 0);
	boot_close(NULL);
}

static void memory_too_small(void **state)
{
	static const uint64_t sizes[] = {4 * KIB, 640 * KIB, 1 * MIB, 1 * MIB + 4 * KIB};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		memory_destroy(f->memory);
		assert_int_equal(memory_create(sizes[i], &f->memory, NULL), 0);
		kernel_image_bz(&f->image);
		assert_int_equal(boot(f), -ENOMEM);
		kernel_image_elf(&f->image);
		assert_int_equal(boot(f), -ENOMEM);
	}
	memory_destroy(f->memory);
	assert_int_equal(memory_create(2 * MIB, &f->memory, NULL), 0);
	kernel_image_elf(&f->image);
	assert_int_equal(boot(f), -ENOMEM); /* its second segment */
	memory_destroy(f->memory);
	assert_int_equal(memory_create(2 * MIB + 8 * KIB, &f->memory, NULL), 0);
	assert_int_equal(boot(f), 0);
}

/* Opened once, loaded twice: the same bytes, also when the file is another by then. */
static void reboot_loads_the_same(void **state)
{
	struct fixture *f = *state;
	struct boot *b;

	kernel_image_bz(&f->image);
	scratch_write(&f->scratch, "kernel", f->image.bytes, f->image.size);
	assert_int_equal(boot_open(&f->config, &b, NULL), 0);
	unlink(f->kernel);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(memory_clear(f->memory, NULL), 0);
		memset(&f->cpu, 0, sizeof(f->cpu));
		assert_int_equal(boot_load(b, f->memory, &f->board, &f->cpu, NULL), 0);
		assert_memory_equal(at(f, BZIMAGE_PREFERRED, BZIMAGE_KERNEL_SIZE),
				    f->image.bytes + BZIMAGE_KERNEL, BZIMAGE_KERNEL_SIZE);
	}
	boot_close(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(bz_loads),
		TEST(bz_32_bit),
		TEST(bz_memory_map),
		TEST(bz_moves_to_where_there_is_room),
		TEST(bz_refused),
		TEST(bz_larger_than_init_size),
		TEST(bz_truncated),
		TEST(bz_initrd),
		TEST(bz_initrd_does_not_fit),
		TEST(bz_command_line),
		TEST(elf_loads),
		TEST(elf_refused),
		TEST(elf_truncated),
		TEST(bytes_changed_at_random),
		TEST(not_kernels),
		TEST(paths),
		TEST(memory_too_small),
		TEST(reboot_loads_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
