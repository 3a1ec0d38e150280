/* decode.c: how long an x86-64 instruction is, and which. From the opcode maps of the Intel SDM, volume 2, appendix A,
 * with AMD's 3DNow!, SSE4a and XOP, which libraries carry too.
 *
 * It says no to what no processor runs in 64-bit mode: that is what tells code from data. */
#include "code.h"

#include <string.h>

/* What follows an opcode, one letter each:
 *   . nothing   m ModRM   M ModRM, imm8   Z ModRM, imm16/32   b imm8   w imm16   z imm16/32   j rel32
 *   v imm16/32/64   o an address   e imm16, imm8   r ModRM of registers only
 *   f, g: group 3, with an immediate for /0 and /1   x not an instruction   P prefix or escape, handled before */
static const char one_byte[257] =
	"mmmmbzxx" "mmmmbzxP" "mmmmbzxx" "mmmmbzxx" /* 00 */
	"mmmmbzPx" "mmmmbzPx" "mmmmbzPx" "mmmmbzPx" /* 20 */
	"PPPPPPPP" "PPPPPPPP" "........" "........" /* 40 */
	"xxPmPPPP" "zZbM...." "bbbbbbbb" "bbbbbbbb" /* 60 */
	"MZxMmmmm" "mmmmmmmm" "........" "..x....." /* 80 */
	"oooo...." "bz......" "bbbbbbbb" "vvvvvvvv" /* a0 */
	"MMw.PPMZ" "e.w..bx." "mmmmxxx." "mmmmmmmm" /* c0 */
	"bbbbbbbb" "jjxb...." "P.PP..fg" "......mm" /* e0 */;

static const char two_byte[257] =
	"mmmmx..." "..x.xm.M" "mmmmmmmm" "mmmmmmmm" /* 00 */
	"rrrrxxxx" "mmmmmmmm" "......x." "PxPxxxxx" /* 20 */
	"mmmmmmmm" "mmmmmmmm" "mmmmmmmm" "mmmmmmmm" /* 40 */
	"mmmmmmmm" "mmmmmmmm" "MMMMmmm." "mmxxmmmm" /* 60 */
	"jjjjjjjj" "jjjjjjjj" "mmmmmmmm" "mmmmmmmm" /* 80 */
	"...mMmmm" "...mMmmm" "mmmmmmmm" "mmMmmmmm" /* a0 */
	"mmMmMMMm" "........" "mmmmmmmm" "mmmmmmmm" /* c0 */
	"mmmmmmmm" "mmmmmmmm" "mmmmmmmm" "mmmmmmmm" /* e0 */;

enum { VEX = 16, EVEX = 32, XOP = 48 };

struct reader {
	const uint8_t *code;
	size_t n, at;
	bool address32;
};

static bool take(struct reader *r, size_t n)
{
	r->at += n;
	return r->at <= r->n;
}

/* addressing steps over a ModRM's SIB and displacement. */
static bool addressing(struct reader *r, uint8_t modrm)
{
	unsigned mod = modrm >> 6, rm = modrm & 7;
	if (mod == 3)
		return true;
	if (rm == 4) {
		if (!take(r, 1))
			return false;
		if ((r->code[r->at - 1] & 7) == 5 && mod == 0)
			return take(r, 4);
	}
	return take(r, mod == 1 ? 1 : mod == 2 || (mod == 0 && rm == 5) ? 4 : 0);
}

/* allowed refuses the members of groups that are none. */
static bool allowed(const struct insn *in)
{
	unsigned reg = in->modrm >> 3 & 7;
	bool memory = in->modrm >> 6 != 3;
	if (in->map == 0)
		switch (in->opcode) {
		case 0x8d: return memory;
		case 0x8f: return reg == 0;
		case 0xc6: case 0xc7: return reg == 0 || in->modrm == 0xf8;
		case 0xfe: return reg < 2;
		case 0xff: return reg < 7 && (memory || (reg != 3 && reg != 5));
		}
	if (in->map == 1)
		switch (in->opcode) {
		case 0x00: return reg < 6;
		case 0x71: case 0x72: return !memory && (reg == 2 || reg == 4 || reg == 6);
		case 0x73: return !memory && (reg == 2 || reg == 3 || reg == 6 || reg == 7);
		case 0xa6: case 0xa7: return !memory; /* VIA's, in libraries of cryptography */
		case 0xba: return reg >= 4;
		case 0xc3: return memory;
		case 0xc7: return reg == 1 || reg >= 6 || (memory && reg >= 3);
		}
	return true;
}

static bool operands(struct reader *r, struct insn *in, char kind)
{
	size_t z = in->data16 && !(in->rex & 8) ? 2 : 4;
	if (strchr("mMZfgr", kind)) {
		if (!take(r, 1))
			return false;
		in->modrm = r->code[r->at - 1];
		if (!allowed(in) || (kind != 'r' && !addressing(r, in->modrm)))
			return false;
	}
	switch (kind) {
	case '.': case 'm': case 'r': return true;
	case 'M': case 'b': return take(r, 1);
	case 'Z': case 'z': return take(r, z);
	case 'w': return take(r, 2);
	case 'e': return take(r, 3);
	case 'j': return take(r, 4); /* 66 does not shorten it here */
	case 'v': return take(r, in->rex & 8 ? 8 : z);
	case 'o': return take(r, r->address32 ? 4 : 8);
	case 'f': return (in->modrm >> 3 & 7) > 1 || take(r, 1);
	case 'g': return (in->modrm >> 3 & 7) > 1 || take(r, z);
	}
	return false;
}

/* vector reads VEX (C4, C5), EVEX (62) and XOP (8F) instructions, from the byte after that one. */
static bool vector(struct reader *r, struct insn *in, uint8_t first)
{
	unsigned prefix = first == 0xc5 ? 1 : first == 0x62 ? 3 : 2, map = 1;
	const uint8_t *p = r->code + r->at;
	if (in->data16 || in->repeat || in->repeat_not || in->rex || !take(r, prefix + 1))
		return false;
	if (first == 0x62) {
		map = p[0] & 7;
		if (p[0] & 8 || !(p[1] & 4) || map == 0 || map == 4 || map == 7)
			return false;
	} else if (prefix == 2) {
		map = p[0] & 31;
	}
	in->opcode = p[prefix];
	if (first == 0x8f) {
		in->map = (uint8_t)(XOP + map - 8);
		return map <= 10 && !(p[1] & 3) && operands(r, in, 'm') && take(r, map == 8 ? 1 : map == 10 ? 4 : 0);
	}
	in->map = (uint8_t)((first == 0x62 ? EVEX : VEX) + map);
	switch (map) {
	case 1: {
		char kind = two_byte[in->opcode];
		if (in->opcode == 0x77 && first != 0x62)
			return true; /* vzeroupper */
		return operands(r, in, kind == 'M' ? 'M' : 'm');
	}
	case 2: return operands(r, in, 'm');
	case 3: return operands(r, in, 'M');
	case 5: case 6: return first == 0x62 && operands(r, in, 'm');
	}
	return false;
}

static bool two(struct reader *r, struct insn *in)
{
	if (!take(r, 1))
		return false;
	in->map = 1;
	in->opcode = r->code[r->at - 1];
	if (in->opcode == 0x38 || in->opcode == 0x3a) {
		in->map = in->opcode == 0x38 ? 2 : 3;
		if (!take(r, 1))
			return false;
		in->opcode = r->code[r->at - 1];
		return operands(r, in, in->map == 2 ? 'm' : 'M');
	}
	/* extrq and insertq with two bytes of immediates */
	if (in->opcode == 0x78 && (in->data16 || in->repeat_not))
		return operands(r, in, 'M') && take(r, 1);
	return operands(r, in, two_byte[in->opcode]);
}

bool decode(const uint8_t *code, size_t n, struct insn *in)
{
	struct reader r = {code, n < INSN_MAX ? n : INSN_MAX, 0, false};
	uint8_t c;
	bool ok;
	memset(in, 0, sizeof *in);
	for (;;) {
		if (!take(&r, 1))
			return false;
		c = code[r.at - 1];
		if ((c & 0xf0) == 0x40) {
			in->rex = c;
			continue;
		}
		bool prefix = true;
		switch (c) {
		case 0x66: in->data16 = true; break;
		case 0x67: r.address32 = true; break;
		case 0xf2: in->repeat_not = true; in->repeat = false; break;
		case 0xf3: in->repeat = true; in->repeat_not = false; break;
		case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65: case 0xf0: break;
		default: prefix = false;
		}
		if (!prefix)
			break;
		in->rex = 0; /* it counts only right before the opcode */
	}
	in->opcode_at = (uint8_t)(r.at - 1);
	in->opcode = c;
	if (c == 0xc4 || c == 0xc5 || c == 0x62 || (c == 0x8f && r.at < r.n && (code[r.at] & 31) >= 8))
		ok = vector(&r, in, c);
	else if (c == 0x0f)
		ok = two(&r, in);
	else
		ok = operands(&r, in, one_byte[c]);
	in->length = (uint8_t)r.at;
	return ok;
}
