#include "ingest/pseudo.h"

#include "base/bytes.h"

#define SLL_BYTES     16
#define SLL_P_CAN     0x000c
#define SLL_P_CANFD   0x000d
#define USB_ISOCHRONOUS 0

struct cursor {
	uint8_t *at, *end;
};

static bool
swap2(struct cursor *c)
{
	if (c->end - c->at < 2)
		return false;
	store_le16(c->at, load_be16(c->at));
	c->at += 2;
	return true;
}

static bool
swap4(struct cursor *c)
{
	if (c->end - c->at < 4)
		return false;
	store_le32(c->at, load_be32(c->at));
	c->at += 4;
	return true;
}

static bool
swap8(struct cursor *c)
{
	if (c->end - c->at < 8)
		return false;
	store_le64(c->at, load_be64(c->at));
	c->at += 8;
	return true;
}

static bool
pass(struct cursor *c, int n)
{
	if (c->end - c->at < n)
		return false;
	c->at += n;
	return true;
}

/* struct pcap_usb_header(_mmapped) of pcap/usb.h. The setup request in it is little-endian always, as on the bus; in its
 * place isochronous transfers have two host-order numbers, and descriptors behind the header. */
static void
swap_usb(struct cursor c, bool mmapped)
{
	const uint8_t *start = c.at;
	if (!swap8(&c) || !pass(&c, 4) || !swap2(&c) || !pass(&c, 2)) /* id, event..address, bus, flags */
		return;
	if (!swap8(&c) || !swap4(&c) || !swap4(&c) || !swap4(&c) || !swap4(&c)) /* time, status, lengths */
		return;
	bool isochronous = start[9] == USB_ISOCHRONOUS;
	if (isochronous ? !swap4(&c) || !swap4(&c) : !pass(&c, 8))
		return;
	if (!mmapped)
		return;
	for (int i = 0; i < 4; i++) /* interval, start frame, flags, number of descriptors */
		if (!swap4(&c))
			return;
	uint32_t descriptors = isochronous ? load_le32(c.at - 4) : 0;
	for (uint32_t i = 0; i < descriptors; i++)
		if (!swap4(&c) || !swap4(&c) || !swap4(&c) || !pass(&c, 4))
			return;
}

/* Length and type of each TLV behind the 4-byte header of version 0. */
static void
swap_nflog(struct cursor c)
{
	if (c.end - c.at < 4 || c.at[1] != 0)
		return;
	c.at += 4;
	while (c.end - c.at >= 4) {
		uint8_t *tlv = c.at;
		swap2(&c);
		swap2(&c);
		uint32_t size = ((uint32_t)load_le16(tlv) + 3) & ~3u;
		if (size < 4 || size > (size_t)(c.end - tlv)) /* its end is not here, or it has none */
			return;
		c.at = tlv + size;
	}
}

void
pseudo_swap(uint16_t linktype, uint8_t *p, uint32_t cap_len)
{
	struct cursor c = { p, p + cap_len };
	switch (linktype) {
	case LINKTYPE_LINUX_SLL: /* a CAN frame's identifier */
		if (cap_len < SLL_BYTES + 4)
			return;
		if (load_be16(p + 14) == SLL_P_CAN || load_be16(p + 14) == SLL_P_CANFD) {
			c.at += SLL_BYTES;
			swap4(&c);
		}
		break;
	case LINKTYPE_USB_LINUX:
		swap_usb(c, false);
		break;
	case LINKTYPE_USB_LINUX_MMAPPED:
		swap_usb(c, true);
		break;
	case LINKTYPE_NFLOG:
		swap_nflog(c);
		break;
	default:
		break;
	}
}
