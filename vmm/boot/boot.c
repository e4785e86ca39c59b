/* SPDX-License-Identifier: MIT */
/* Booting: the table of kernel formats, files, the memory map and the initrd. See boot.h. */
#include "vmm/boot/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/checked.h"
#include "vmm/boot/boot_impl.h"

static const struct kernel_format *const formats[] = {&elf_format, &bzimage_format};

int boot_malformed(const struct boot *boot, const char *cause, struct error *err)
{
	return error_set(err, -ENOEXEC,
			 "give an x86-64 Linux bzImage, or an ELF vmlinux with a PVH note",
			 "kernel '%s': %s", boot->kernel.path, cause);
}

int boot_too_small(const struct boot_image *image, const char *what, uint64_t end,
		   struct error *err)
{
	return error_set(err, -ENOMEM, "give the guest more with -m",
			 "%llu MiB of guest memory: %s needs %llu MiB",
			 (unsigned long long)(image->memory->size >> 20), what,
			 (unsigned long long)align_up(end, 1 << 20) >> 20);
}

int boot_file_read(const struct boot_file *file, uint64_t offset, void *to, size_t length)
{
	uint8_t *at = to;

	while (length) {
		ssize_t n = pread(file->fd, at, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		at += n;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

int boot_file_load(const struct boot_file *file, uint64_t offset, uint64_t length,
		   struct guest_memory *memory, uint64_t gpa, const char *part, struct error *err)
{
	void *to = memory_at_write(memory, gpa, length);
	uint64_t end = offset + length; /* for the message: it may wrap */
	int ret;

	if (!range_within(offset, length, 0, file->size))
		return error_set(err, -ENODATA, "fetch the file anew",
				 "'%s': %s is cut off: it ends at byte %llu of %llu", file->path,
				 part, (unsigned long long)file->size, (unsigned long long)end);
	if (!to)
		return error_set(err, -ENOMEM, "give the guest more memory with -m",
				 "'%s': %s does not fit into guest memory at 0x%llx", file->path,
				 part, (unsigned long long)gpa);
	memory_expect(memory, gpa, length);
	ret = boot_file_read(file, offset, to, length);
	if (ret)
		return error_set(err, ret, NULL, "'%s': read %s: %s", file->path, part,
				 error_name(ret));
	return 0;
}

static int file_open(const char *what, const char *path, struct boot_file *file, struct error *err)
{
	struct stat st;
	int code;

	file->path = strdup(path);
	if (!file->path)
		return error_set(err, -ENOMEM, NULL, "%s '%s': out of memory", what, path);
	/* Not blocking: a FIFO named by mistake must not hold us up. */
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file->fd < 0 || fstat(file->fd, &st) < 0) {
		code = -errno;
		return error_set(err, code, code == -ENOENT ? "check the path" : NULL,
				 "%s '%s': %s", what, path, error_name(code));
	}
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "give a regular file", "%s '%s': not a file", what,
				 path);
	file->size = (uint64_t)st.st_size;
	return 0;
}

static void file_close(struct boot_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
}

static int kernel_recognise(struct boot *boot, struct error *err)
{
	size_t length =
		boot->kernel.size < sizeof(boot->head) ? boot->kernel.size : sizeof(boot->head);
	int ret = boot_file_read(&boot->kernel, 0, boot->head, length);

	if (ret)
		return error_set(err, ret, NULL, "kernel '%s': read: %s", boot->kernel.path,
				 error_name(ret));
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
		if (formats[i]->match(boot)) {
			boot->format = formats[i];
			return 0;
		}
	}
	return boot_malformed(boot, boot->kernel.size ? "not a Linux kernel" : "the file is empty",
			      err);
}

static int boot_copy(struct boot *boot, const struct boot_config *config, struct error *err)
{
	boot->cmdline = strdup(config->cmdline);
	if (!boot->cmdline)
		return error_set(err, -ENOMEM, NULL, "command line: out of memory");
	if (strlen(config->cmdline) >= BOOT_CMDLINE_MAX)
		return error_set(err, -E2BIG, "shorten it",
				 "kernel command line: longer than %u bytes", BOOT_CMDLINE_MAX - 1);
	if (!config->overlay_size)
		return 0;
	boot->overlay = malloc(config->overlay_size);
	if (!boot->overlay)
		return error_set(err, -ENOMEM, NULL, "initrd overlay: out of memory");
	memcpy(boot->overlay, config->overlay, config->overlay_size);
	boot->overlay_size = config->overlay_size;
	return 0;
}

int boot_open(const struct boot_config *config, struct boot **out, struct error *err)
{
	struct boot *boot = calloc(1, sizeof(*boot));
	int ret;

	if (!boot)
		return error_set(err, -ENOMEM, NULL, "kernel: out of memory");
	boot->kernel.fd = -1;
	boot->initrd.fd = -1;
	ret = boot_copy(boot, config, err);
	if (ret == 0)
		ret = file_open("kernel", config->kernel, &boot->kernel, err);
	if (ret == 0)
		ret = kernel_recognise(boot, err);
	if (ret == 0 && config->initrd)
		ret = file_open("initrd", config->initrd, &boot->initrd, err);
	if (ret) {
		boot_close(boot);
		return ret;
	}
	*out = boot;
	return 0;
}

void boot_close(struct boot *boot)
{
	if (!boot)
		return;
	file_close(&boot->kernel);
	file_close(&boot->initrd);
	free(boot->cmdline);
	free(boot->overlay);
	free(boot);
}

struct cpu_segment boot_segment(uint16_t selector, uint8_t type, bool wide)
{
	return (struct cpu_segment){.limit = ~0u,
				    .selector = selector,
				    .type = type,
				    .present = 1,
				    .s = 1,
				    .g = 1,
				    .l = wide,
				    .db = !wide};
}

static void range_add(struct boot_image *image, uint64_t base, uint64_t end,
		      enum boot_range_type type)
{
	if (end > base)
		image->range[image->range_count++] = (struct boot_range){base, end - base, type};
}

static void describe_memory(struct boot_image *image, const struct acpi_board *board)
{
	const struct guest_memory *memory = image->memory;

	range_add(image, 0, BOOT_EBDA, BOOT_RAM);
	range_add(image, BOOT_EBDA, 0xa0000, BOOT_RESERVED);
	range_add(image, BOOT_ACPI, BOOT_HIGH, BOOT_RESERVED);
	range_add(image, BOOT_HIGH, memory->range[0].size, BOOT_RAM);
	/* Linux believes in an ECAM only where the memory map reserves it. */
	range_add(image, board->ecam_base, board->ecam_base + board->ecam_size, BOOT_RESERVED);
	if (memory->count > 1)
		range_add(image, memory->range[1].base,
			  memory->range[1].base + memory->range[1].size, BOOT_RAM);
}

/* As high as the kernel allows, so that it is out of the way of the kernel's unpacking. */
static int initrd_load(struct boot_image *image, struct error *err)
{
	struct boot *boot = image->boot;
	uint64_t file_size = boot->initrd.fd >= 0 ? boot->initrd.size : 0;
	/* Archives that follow one another start at multiples of four bytes. */
	uint64_t overlay_at = align_up(file_size, 4);
	uint64_t size = overlay_at + boot->overlay_size;
	uint64_t top = image->boot->format->initrd_limit(image);
	int ret;

	if (size == 0)
		return 0;
	if (top > image->memory->range[0].size)
		top = image->memory->range[0].size;
	if (size > top || top - size < image->kernel_end)
		return boot_too_small(image, "kernel and initrd together", image->kernel_end + size,
				      err);
	image->initrd_at = (top - size) & ~(MEMORY_PAGE_SIZE - 1);
	image->initrd_size = size;
	if (image->initrd_at < image->kernel_end)
		return boot_too_small(image, "kernel and initrd together",
				      image->kernel_end + size + MEMORY_PAGE_SIZE, err);
	if (file_size) {
		ret = boot_file_load(&boot->initrd, 0, file_size, image->memory, image->initrd_at,
				     "the initrd", err);
		if (ret)
			return ret;
	}
	if (boot->overlay_size)
		memory_write(image->memory, image->initrd_at + overlay_at, boot->overlay,
			     boot->overlay_size);
	return 0;
}

int boot_load(struct boot *boot, struct guest_memory *memory, const struct acpi_board *board,
	      struct cpu_state *cpu, struct error *err)
{
	struct boot_image image = {.boot = boot, .memory = memory};
	int ret;

	if (memory->range[0].size < 2 * BOOT_HIGH)
		return boot_too_small(&image, "a kernel", 16 * BOOT_HIGH, err);
	describe_memory(&image, board);
	ret = acpi_write(board, memory, BOOT_ACPI, board->generation_base - BOOT_ACPI, &image.rsdp,
			 err);
	if (ret)
		return ret;
	ret = boot->format->load(&image, err);
	if (ret)
		return ret;
	ret = initrd_load(&image, err);
	if (ret)
		return ret;
	memory_write(memory, BOOT_CMDLINE, boot->cmdline, strlen(boot->cmdline) + 1);
	return boot->format->enter(&image, cpu, err);
}
