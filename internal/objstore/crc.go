package objstore

import (
	"encoding/base64"
	"encoding/binary"
)

// FormatCRC64NVME writes a CRC-64/NVME as S3 does in its headers: Base64 of the
// eight bytes, highest first.
func FormatCRC64NVME(crc uint64) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, crc))
}
