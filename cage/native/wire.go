package native

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The packets of zygote/docklock_wire.h.
const (
	wireVersion = 1
	packetBytes = 64

	kindHello   = 1
	kindRun     = 2
	kindKill    = 3
	kindDone    = 4
	kindPrepare = 5

	jobMagic    = 0x314a4c44
	mountsMagic = 0x314d4c44
)

// packet is struct dl_packet.
type packet struct {
	kind, flags uint32
	id          uint64
	status      int32
	errno       int32
	cpuUs       uint64
	stage       string
}

func (p *packet) encode() []byte {
	b := make([]byte, packetBytes)
	le := binary.LittleEndian
	le.PutUint32(b[0:], p.kind)
	le.PutUint32(b[4:], p.flags)
	le.PutUint64(b[8:], p.id)
	le.PutUint32(b[16:], uint32(p.status))
	le.PutUint32(b[20:], uint32(p.errno))
	le.PutUint64(b[24:], p.cpuUs)
	copy(b[32:63], p.stage)
	return b
}

// decodePacket reads a packet from a zygote, which is not trusted.
func decodePacket(b []byte) (packet, error) {
	if len(b) != packetBytes {
		return packet{}, fmt.Errorf("packet of %d bytes; want %d", len(b), packetBytes)
	}
	le := binary.LittleEndian
	stage, _, _ := strings.Cut(string(b[32:]), "\x00")
	return packet{
		kind: le.Uint32(b[0:]), flags: le.Uint32(b[4:]), id: le.Uint64(b[8:]),
		status: int32(le.Uint32(b[16:])), errno: int32(le.Uint32(b[20:])), cpuUs: le.Uint64(b[24:]),
		stage: strings.ToValidUTF8(stage, "?"),
	}, nil
}

// err is the failure that the packet reports, or nil.
func (p *packet) err() error {
	if p.errno == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", p.stage, syscall.Errno(p.errno))
}

// socketPair is a connected pair of SOCK_SEQPACKET sockets: ours, and the file to hand to a child.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "cage"), os.NewFile(uintptr(fds[1]), "cage")
	defer ours.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	return c.(*net.UnixConn), theirs, nil
}

// send writes one packet with descriptors beside it.
func send(c *net.UnixConn, p *packet, files ...*os.File) error {
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	_, _, err := c.WriteMsgUnix(p.encode(), oob, nil)
	for _, f := range files {
		runtime.KeepAlive(f)
	}
	return err
}

// receive reads one packet and at most two descriptors, which are the caller's to close.
func receive(c *net.UnixConn) (packet, []*os.File, error) {
	b := make([]byte, packetBytes+1)
	n, files, err := readPacket(c, b, make([]byte, unix.CmsgSpace(2*4)))
	if err != nil {
		return packet{}, nil, err
	}
	p, err := decodePacket(b[:n])
	if err != nil {
		closeAll(files)
		return packet{}, nil, err
	}
	return p, files, nil
}

// readPacket reads one packet into b and gives its length and the descriptors that came beside it, for which oob is room.
func readPacket(c *net.UnixConn, b, oob []byte) (int, []*os.File, error) {
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return 0, nil, err
	}
	var files []*os.File
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return 0, nil, err
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "cage"))
		}
	}
	return n, files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// memory is an anonymous file that holds b, at its beginning, neither writable by name nor executable.
func memory(name string, b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Chmod(0o400)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("fill a memory file: %w", err)
	}
	return f, nil
}
