package awssim

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"net/http"
	"strconv"
	"strings"
)

// checksumAlgorithm is a checksum of S3's, by its name in the API.
type checksumAlgorithm string

const (
	algCRC32     checksumAlgorithm = "CRC32"
	algCRC32C    checksumAlgorithm = "CRC32C"
	algCRC64NVME checksumAlgorithm = "CRC64NVME"
	algSHA1      checksumAlgorithm = "SHA1"
	algSHA256    checksumAlgorithm = "SHA256"
)

// The two kinds of a multipart object's checksum: over all bytes, or over the
// parts' checksums.
const (
	fullObject = "FULL_OBJECT"
	composite  = "COMPOSITE"
)

// nvmePolynomial is that of CRC-64/NVME, reflected (NVM Express NVM Command Set
// specification; "CRC-64/NVME" in the CRC catalogue).
const nvmePolynomial = 0x9a6c9329ac4bc9b5

func checksumAlgorithms() []checksumAlgorithm {
	return []checksumAlgorithm{algCRC32, algCRC32C, algCRC64NVME, algSHA1, algSHA256}
}

func (a checksumAlgorithm) header() string {
	return http.CanonicalHeaderKey("x-amz-checksum-" + strings.ToLower(string(a)))
}

func (a checksumAlgorithm) known() bool { return a.size() > 0 }

func (a checksumAlgorithm) size() int {
	switch a {
	case algCRC32, algCRC32C:
		return crc32.Size
	case algCRC64NVME:
		return crc64.Size
	case algSHA1:
		return sha1.Size
	case algSHA256:
		return sha256.Size
	}
	return 0
}

func (a checksumAlgorithm) hash() hash.Hash {
	switch a {
	case algCRC32:
		return crc32.NewIEEE()
	case algCRC32C:
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case algCRC64NVME:
		return crc64.New(crc64.MakeTable(nvmePolynomial))
	case algSHA1:
		return sha1.New()
	default:
		return sha256.New()
	}
}

// linear says that parts' checksums can be combined to the whole's.
func (a checksumAlgorithm) linear() bool {
	return a == algCRC32 || a == algCRC32C || a == algCRC64NVME
}

// sent is a checksum that came with a payload.
type sent struct {
	algorithm checksumAlgorithm // "" if none
	value     string            // Base64; "" if it comes as trailer
}

// sentChecksum reads what checksum a payload's headers announce.
func sentChecksum(h http.Header) (sent, *apiError) {
	var found []sent
	for _, a := range checksumAlgorithms() {
		if v := h.Get(a.header()); v != "" {
			if !validDigest(a, v) {
				return sent{}, badRequest("InvalidRequest", "Value for "+strings.ToLower(a.header())+" header is invalid.")
			}
			found = append(found, sent{a, v})
		}
		for _, t := range h.Values("X-Amz-Trailer") {
			if http.CanonicalHeaderKey(t) == a.header() {
				found = append(found, sent{a, ""})
			}
		}
	}
	announced := checksumAlgorithm(strings.ToUpper(h.Get("X-Amz-Sdk-Checksum-Algorithm")))
	switch {
	case len(found) > 1:
		return sent{}, badRequest("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
	case announced != "" && !announced.known():
		return sent{}, badRequest("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
	case len(found) == 0 && announced != "":
		return sent{}, badRequest("InvalidRequest", "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	case len(found) == 0:
		return sent{}, nil
	case announced != "" && announced != found[0].algorithm:
		return sent{}, badRequest("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	return found[0], nil
}

func validDigest(a checksumAlgorithm, v string) bool {
	raw, err := base64.StdEncoding.DecodeString(v)
	return err == nil && len(raw) == a.size()
}

// sums are the checksums of a payload: MD5 for the ETag, CRC64NVME always, since
// S3 computes it for all, and the one that was sent.
type sums struct {
	md5    hash.Hash
	hashes map[checksumAlgorithm]hash.Hash
}

func newSums(also ...checksumAlgorithm) *sums {
	s := &sums{md5: md5.New(), hashes: map[checksumAlgorithm]hash.Hash{algCRC64NVME: algCRC64NVME.hash()}}
	for _, a := range also {
		if a != "" && s.hashes[a] == nil {
			s.hashes[a] = a.hash()
		}
	}
	return s
}

func (s *sums) Write(p []byte) (int, error) {
	s.md5.Write(p)
	for _, h := range s.hashes {
		h.Write(p)
	}
	return len(p), nil
}

func (s *sums) digests() map[checksumAlgorithm][]byte {
	d := map[checksumAlgorithm][]byte{}
	for a, h := range s.hashes {
		d[a] = h.Sum(nil)
	}
	return d
}

// payload is a received body with its checksums, all verified.
type payload struct {
	blob    blob
	md5     []byte
	digests map[checksumAlgorithm][]byte
	sent    checksumAlgorithm
}

// takePayload stores the body and checks all that was said about it. The
// checksum wanted of an upload's parts is computed though it was not sent.
func (s *Server) takePayload(c *call, announced sent, wanted checksumAlgorithm) (payload, *apiError) {
	if c.s3.length < 0 {
		return payload{}, &apiError{Status: http.StatusLengthRequired, Code: "MissingContentLength", Message: "You must provide the Content-Length HTTP header."}
	}
	if c.s3.length > maxPart {
		return payload{}, badRequest("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size",
			detail{"ProposedSize", strconv.FormatInt(c.s3.length, 10)}, detail{"MaxSizeAllowed", strconv.FormatInt(maxPart, 10)})
	}
	sums := newSums(announced.algorithm, wanted)
	b, err := s.receive(c.body, sums)
	if err != nil {
		return payload{}, payloadError(err)
	}
	p := payload{blob: b, md5: sums.md5.Sum(nil), digests: sums.digests(), sent: announced.algorithm}
	if e := checkPayload(c, announced, p); e != nil {
		if err := b.remove(); err != nil {
			return payload{}, internalError(err)
		}
		return payload{}, e
	}
	return p, nil
}

func checkPayload(c *call, announced sent, p payload) *apiError {
	if want := c.req.Header.Get("Content-Md5"); want != "" {
		raw, err := base64.StdEncoding.DecodeString(want)
		if err != nil || len(raw) != md5.Size {
			return badRequest("InvalidDigest", "The Content-MD5 you specified was invalid.")
		}
		if string(raw) != string(p.md5) {
			return badRequest("BadDigest", "The Content-MD5 you specified did not match what we received.",
				detail{"ExpectedDigest", want}, detail{"CalculatedDigest", base64.StdEncoding.EncodeToString(p.md5)})
		}
	}
	if announced.algorithm == "" {
		return nil
	}
	if announced.value == "" {
		announced.value = c.s3.trailer.Get(announced.algorithm.header())
		if !validDigest(announced.algorithm, announced.value) {
			return badRequest("InvalidRequest", "Value for "+strings.ToLower(announced.algorithm.header())+" trailing header is invalid.")
		}
	}
	if announced.value != base64.StdEncoding.EncodeToString(p.digests[announced.algorithm]) {
		return badDigest(announced.algorithm)
	}
	return nil
}

func badDigest(a checksumAlgorithm) *apiError {
	return badRequest("BadDigest", "The "+string(a)+" you specified did not match the calculated checksum.")
}

// checksum is what an object tells of its checksum.
type checksum struct {
	algorithm checksumAlgorithm
	kind      string // fullObject or composite
	value     string // Base64, with "-N" if composite
}

// wholeChecksum is the checksum of a payload stored as one object: the one that
// was sent, else the CRC64NVME that S3 computes.
func wholeChecksum(p payload) checksum {
	a := p.sent
	if a == "" {
		a = algCRC64NVME
	}
	return checksum{a, fullObject, base64.StdEncoding.EncodeToString(p.digests[a])}
}

func (c checksum) setHeaders(h http.Header) {
	h.Set(c.algorithm.header(), c.value)
	h.Set("X-Amz-Checksum-Type", c.kind)
}

// combineChecksum makes an object's checksum of its parts'.
func combineChecksum(a checksumAlgorithm, kind string, parts []*part) checksum {
	if kind == composite {
		h := a.hash()
		for _, p := range parts {
			h.Write(p.digests[a])
		}
		return checksum{a, kind, base64.StdEncoding.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(parts))}
	}
	joiner := newCRCJoiner(a)
	var crc uint64
	for i, p := range parts {
		next := bigEndian(p.digests[a])
		if i == 0 {
			crc = next
			continue
		}
		crc = joiner.join(crc, next, p.blob.size)
	}
	raw := binary.BigEndian.AppendUint64(nil, crc)
	return checksum{a, kind, base64.StdEncoding.EncodeToString(raw[8-a.size():])}
}

func bigEndian(b []byte) uint64 {
	var v uint64
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}
