/* Frames of any bytes: dissect() reads inside them and the slack behind, comes to what a plain reading comes to, and takes no
 * notice of the slack's contents; what --headers-only keeps ends inside the frame. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "archive/dissect.h"
#include "archive/frames.h"
#include "base/bytes.h"
#include "tests/support/plain_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint16_t linktypes[] = { 1, 1, 1, 101, 0, 12, 14, 108, 113, 228, 229, 276 };

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || size > 4096)
		return 0;
	uint16_t linktype = data[0] < 200 ? linktypes[data[0] % 12] : load_le16(data);
	uint32_t n = (uint32_t)size - 2;
	struct dissection d, other, link;
	struct plain x;
	uint8_t *p = malloc(n + FRAMES_SLACK);
	if (!p)
		return 0;
	memcpy(p, data + 2, n);
	memset(p + n, 0xff, FRAMES_SLACK);
	dissect(linktype, p, n, &other);
	uint32_t other_end = dissect_headers_end(&other, p, n);
	memset(p + n, 0, FRAMES_SLACK);
	dissect(linktype, p, n, &d);
	uint32_t end = dissect_headers_end(&d, p, n);
	assert(memcmp(&d, &other, sizeof d) == 0 && end == other_end);
	assert(d.link_bytes <= d.end && d.end <= end && end <= n);
	uint32_t usual = dissect_usual(linktype, p, n);
	assert(!usual || (usual == end && usual == d.end && d.link_bytes == DISSECT_USUAL_LINK_BYTES && d.vlans == 0 && d.mpls == 0 &&
	                  d.transport_at == DISSECT_USUAL_TRANSPORT_AT && d.net == NET_IP4 && d.flags == 0 &&
	                  d.transport == (d.proto == PROTO_TCP ? TRANSPORT_TCP : TRANSPORT_UDP)));
	plain_parse(linktype, p, n, &x);
	assert(d.net == x.net && d.transport == x.transport && d.proto == x.proto && d.first_proto == x.first_proto);
	assert(d.flags == ((x.fragment ? FLOW_FRAGMENT : 0) | (x.extensions ? FLOW_EXTENSIONS : 0)));
	assert(d.link_bytes == x.link_bytes && d.vlans == x.vlans && d.vlan == x.vlan && d.mpls == x.mpls);
	assert(d.transport_at == x.transport_at && d.end == x.end);
	dissect_link(linktype, p, d.link_bytes, &link);
	assert(link.vlans == x.vlans && link.vlan == x.vlan && link.mpls == x.mpls);
	assert(x.mpls || link.ethertype == x.ethertype);
	/* cut there, the frame is understood as before */
	dissect(linktype, p, end, &other);
	assert(other.net == d.net && other.transport == d.transport && other.end == d.end && other.proto == d.proto);
	assert(dissect_headers_end(&other, p, end) == end);
	free(p);
	return 0;
}
