/* SPDX-License-Identifier: MIT */
/*
 * Compute kernels: what a translator of instructions is good or bad at, one at a time. What each
 * works out goes into a checksum that is the same on every machine: no long double beyond the four
 * operations and square root, no order of sums that a compiler may choose.
 */
#include "vmm/workload/workload.h"

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER 65536u

static uint8_t source[BUFFER], target[BUFFER];

static uint64_t bits_of(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static uint64_t mix(uint64_t sum, uint64_t value)
{
	return (sum ^ value) * 0x9e3779b97f4a7c15ull;
}

static void fill_random(void)
{
	uint64_t state = RANDOM_SEED;

	for (unsigned i = 0; i < BUFFER; i++)
		source[i] = (uint8_t)next_random(&state);
}

/* Recursive calls. */
#define FIB_OF    30u
#define FIB_CALLS 2692537u /* 2 fib(31) - 1 */

__attribute__((noinline)) static uint64_t fib(uint64_t n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static uint64_t fib_unit(void)
{
	return fib(FIB_OF);
}

/* An interpreter with one indirect branch an instruction. */
enum opcode { OP_ADD, OP_XOR, OP_SHIFT, OP_LOAD, OP_STORE, OP_SWAP, OP_SKIP_ODD, OP_LOOP };

#define INTERPRETED 2000000u

/* At most that many instructions of the program, which has no end. */
static uint64_t interpret(const uint8_t *program, uint64_t count)
{
	static const void *const labels[] = {&&add,   &&xor,  &&shift,    &&load,
					     &&store, &&swap, &&skip_odd, &&loop};
	uint64_t a = 1, b = 2, t, memory[16] = {0};
	unsigned pc = 0;

#define NEXT                                                                                       \
	do {                                                                                       \
		if (!count--)                                                                      \
			return a ^ b;                                                              \
		goto *labels[program[pc++]];                                                       \
	} while (0)
	NEXT;
add:
	a += b;
	NEXT;
	xor : a ^= b << 3;
	NEXT;
shift:
	a = a >> 5 | a << 59;
	NEXT;
load:
	b += memory[a & 15];
	NEXT;
store:
	memory[b & 15] = a;
	NEXT;
swap:
	t = a;
	a = b;
	b = t;
	NEXT;
skip_odd:
	pc += a & 1;
	NEXT;
loop:
	pc = 0;
	NEXT;
#undef NEXT
}

static uint64_t interpreter_unit(void)
{
	uint8_t program[258];
	uint64_t state = RANDOM_SEED;

	for (unsigned i = 0; i < 256; i++)
		program[i] = next_random(&state) % OP_LOOP;
	program[256] = program[257] = OP_LOOP; /* a skip may go over one */
	return interpret(program, INTERPRETED);
}

/* SHA-256: FIPS 180-4. The blocks of the buffer, without padding: its compression alone. */
static const uint32_t sha_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static uint32_t rotate(uint32_t value, unsigned by)
{
	return value >> by | value << (32 - by);
}

static void sha_block(uint32_t *hash, const uint8_t *block)
{
	uint32_t a = hash[0], b = hash[1], c = hash[2], d = hash[3];
	uint32_t e = hash[4], f = hash[5], g = hash[6], h = hash[7];
	uint32_t w[64];

	for (unsigned i = 0; i < 16; i++)
		w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
		       (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
	for (unsigned i = 16; i < 64; i++) {
		uint32_t x = w[i - 15], y = w[i - 2];

		w[i] = w[i - 16] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + w[i - 7] +
		       (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
	}
	for (unsigned i = 0; i < 64; i++) {
		uint32_t sum1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
		uint32_t t1 = h + sum1 + ((e & f) ^ (~e & g)) + sha_k[i] + w[i];
		uint32_t sum0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
		uint32_t t2 = sum0 + ((a & b) ^ (a & c) ^ (b & c));

		h = g;
		g = f;
		f = e;
		e = d + t1;
		d = c;
		c = b;
		b = a;
		a = t1 + t2;
	}
	hash[0] += a;
	hash[1] += b;
	hash[2] += c;
	hash[3] += d;
	hash[4] += e;
	hash[5] += f;
	hash[6] += g;
	hash[7] += h;
}

#define SHA_ROUNDS 32u

static uint64_t sha_unit(void)
{
	uint32_t hash[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
			    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

	for (unsigned k = 0; k < SHA_ROUNDS; k++)
		for (unsigned i = 0; i < BUFFER; i += 64)
			sha_block(hash, source + i);
	return (uint64_t)hash[0] << 32 | hash[7];
}

/* The C library's qsort, which calls back for each comparison. */
#define SORTED 65536u

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static uint64_t sort_unit(void)
{
	static uint32_t values[SORTED];
	uint64_t state = RANDOM_SEED, sum = 0;

	for (unsigned i = 0; i < SORTED; i++)
		values[i] = (uint32_t)next_random(&state);
	qsort(values, SORTED, sizeof(values[0]), compare);
	for (unsigned i = 0; i < SORTED; i++)
		sum = mix(sum, values[i]);
	return sum;
}

/* Loads that depend on each other, over 1 MiB: a random cycle (Sattolo 1986) of cache lines. */
#define NODES  16384u
#define CHASED 1000000u

struct node {
	struct node *next;
	uint64_t number, pad[6];
};
static struct node nodes[NODES] __attribute__((aligned(4096)));

static void chase_before(void)
{
	uint64_t state = RANDOM_SEED;

	for (unsigned i = 0; i < NODES; i++) {
		nodes[i].next = &nodes[i];
		nodes[i].number = i;
	}
	for (unsigned i = NODES - 1; i > 0; i--) {
		unsigned k = next_random(&state) % i;
		struct node *next = nodes[i].next;

		nodes[i].next = nodes[k].next;
		nodes[k].next = next;
	}
}

static uint64_t chase_unit(void)
{
	const struct node *node = nodes;

	for (unsigned i = 0; i < CHASED; i++)
		node = node->next;
	return node->number;
}

/* Branches that nothing can predict: the words and numbers of random text. */
#define BRANCHY_ROUNDS 16u

static uint64_t branchy_unit(void)
{
	uint64_t words = 0, digits = 0, others = 0, value = 0;
	bool in_word = false;

	for (unsigned k = 0; k < BRANCHY_ROUNDS; k++)
		for (unsigned i = 0; i < BUFFER; i++) {
			uint8_t c = source[i] & 0x7f;

			if (c >= '0' && c <= '9') {
				value = value * 10 + c;
				digits++;
				in_word = false;
			} else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') {
				if (!in_word)
					words++;
				in_word = true;
			} else if (c < 0x20) {
				value ^= value >> 7;
				in_word = false;
			} else {
				if (c & 1)
					others += value & 3;
				in_word = !in_word;
			}
		}
	return mix(mix(mix(words, digits), others), value);
}

/* A product of matrices of doubles. */
#define ORDER         128u
#define MATMUL_ROUNDS 8u
#define MATMUL_STEPS  (ORDER * ORDER * ORDER * MATMUL_ROUNDS)

static uint64_t matmul_unit(void)
{
	static double a[ORDER][ORDER], b[ORDER][ORDER], c[ORDER][ORDER];
	uint64_t sum = 0;

	for (unsigned i = 0; i < ORDER; i++)
		for (unsigned k = 0; k < ORDER; k++) {
			a[i][k] = (double)(i + 1) / (k + 1);
			b[i][k] = (double)(k + 1) / (i + 2);
			c[i][k] = 0;
		}
	for (unsigned round = 0; round < MATMUL_ROUNDS; round++)
		for (unsigned i = 0; i < ORDER; i++)
			for (unsigned k = 0; k < ORDER; k++)
				for (unsigned j = 0; j < ORDER; j++)
					c[i][j] += a[i][k] * b[k][j];
	for (unsigned i = 0; i < ORDER; i++)
		sum = mix(sum, bits_of(c[i][ORDER - 1 - i]));
	return sum;
}

/* The C library's functions, of doubles. */
#define LIBM_POINTS 40000u

static uint64_t libm_unit(void)
{
	double sum = 0;

	for (unsigned i = 1; i <= LIBM_POINTS; i++) {
		double x = i * 1e-3;

		sum += sin(x) + exp(-x) + log(x) + pow(x, 0.7) + atan(x);
	}
	return bits_of(sum);
}

/* A dot product of floats with AVX2 and FMA. */
#define DOT_LENGTH 4096u
#define DOT_ROUNDS 20000u

__attribute__((target("avx2,fma"))) static uint64_t avx_unit(void)
{
	static float a[DOT_LENGTH], b[DOT_LENGTH];
	__m256 even = _mm256_setzero_ps(), odd = _mm256_setzero_ps();
	float lanes[8];
	uint64_t checksum = 0;

	for (unsigned i = 0; i < DOT_LENGTH; i++) {
		a[i] = (float)(i % 17);
		b[i] = 1.0f / (float)(i + 1);
	}
	for (unsigned round = 0; round < DOT_ROUNDS; round++)
		for (unsigned i = 0; i < DOT_LENGTH; i += 16) {
			even = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i),
					       even);
			odd = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8),
					      _mm256_loadu_ps(b + i + 8), odd);
		}
	_mm256_storeu_ps(lanes, _mm256_add_ps(even, odd));
	for (unsigned i = 0; i < 8; i++)
		checksum = mix(checksum, bits_of(lanes[i]));
	return checksum;
}

/* Copies of 64 KiB: by the C library, and by the string instruction. */
#define COPIES 4000u

static uint64_t target_sum(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < BUFFER; i += 61)
		sum = mix(sum, target[i]);
	return sum;
}

static uint64_t memcpy_unit(void)
{
	for (unsigned i = 0; i < COPIES; i++) {
		memcpy(target, source, BUFFER);
		__asm__ volatile("" : : : "memory");
	}
	return target_sum();
}

static uint64_t movsb_unit(void)
{
	for (unsigned i = 0; i < COPIES; i++) {
		const void *from = source;
		void *to = target;
		size_t count = BUFFER;

		__asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
	}
	return target_sum();
}

/* The lengths of strings, a byte at a time. */
#define SCAN_ROUNDS 128u

static uint64_t scan_unit(void)
{
	uint64_t sum = 0;

	for (unsigned round = 0; round < SCAN_ROUNDS; round++)
		for (const uint8_t *at = source; at < source + BUFFER - 1; at++) {
			const uint8_t *begin = at;

			for (; *at && at < source + BUFFER - 1; at++)
				__asm__ volatile("" : "+r"(at)); /* not the library's strlen */
			sum = mix(sum, (uint64_t)(at - begin));
		}
	return sum;
}

/* long double: square roots by Newton's method, and sums. */
#define X87_POINTS 100000u

static uint64_t x87_unit(void)
{
	long double sum = 0;

	for (unsigned i = 1; i <= X87_POINTS; i++) {
		long double value = (long double)i, root = value / 3 + 1;

		for (unsigned k = 0; k < 3; k++)
			root = (root + value / root) * 0.5L;
		sum += root - sqrtl(value) / value;
	}
	return bits_of((double)sum);
}

const struct bench compute_benches[] = {
	{"fib", FIB_CALLS, fib_unit, NULL, NULL},
	{"interpreter", INTERPRETED, interpreter_unit, NULL, NULL},
	{"sha256", SHA_ROUNDS *BUFFER / 64, sha_unit, fill_random, NULL},
	{"sort", SORTED, sort_unit, NULL, NULL},
	{"chase", CHASED, chase_unit, chase_before, NULL},
	{"branchy", BRANCHY_ROUNDS *BUFFER, branchy_unit, fill_random, NULL},
	{"matmul", MATMUL_STEPS, matmul_unit, NULL, NULL},
	{"libm", LIBM_POINTS, libm_unit, NULL, NULL},
	{"avx2-dot", DOT_ROUNDS *DOT_LENGTH, avx_unit, NULL, NULL},
	{"memcpy", COPIES, memcpy_unit, fill_random, NULL},
	{"scan", SCAN_ROUNDS *BUFFER, scan_unit, fill_random, NULL},
	{"x87", X87_POINTS, x87_unit, NULL, NULL},
	{"rep-movsb", COPIES, movsb_unit, fill_random, NULL},
	{NULL, 0, NULL, NULL, NULL},
};
