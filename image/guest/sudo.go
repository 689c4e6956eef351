//go:build linux

package guest

import (
	"encoding/binary"
	"fmt"
	"runtime"
)

// SetUID are the files of a root directory that must be set-uid root in the guest. On the
// host they are not: there they would make any user that can reach them root.
// The code that runs a guest sets the bit on a private copy, where the file exists.
var SetUID = []string{SudoPath}

// SudoProgram is a program that becomes the agent under the name sudo, with the
// arguments and the environment that it has. It is this small because each
// sandbox has a separate copy, and the agent is 10 MB.
func SudoProgram() (string, error) {
	const (
		base    = 0x400000
		headers = 64 + 56
	)
	code := sudoCode[runtime.GOARCH]
	if code == nil {
		return "", fmt.Errorf("no sudo for the architecture %s", runtime.GOARCH)
	}
	text := code()
	program := string(text) + AgentPath + "\x00" + "sudo\x00"
	machine := map[string]uint16{"amd64": 62, "arm64": 183}[runtime.GOARCH]
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint16(b, 2) // An executable,
	b = le.AppendUint16(b, machine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, base+headers) // which starts behind the headers.
	b = le.AppendUint64(b, 64)           // The one program header follows this one.
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, n := range []uint16{64, 56, 1, 64, 0, 0} {
		b = le.AppendUint16(b, n)
	}
	b = le.AppendUint32(b, 1) // Loaded as a whole,
	b = le.AppendUint32(b, 5) // to be read and executed.
	size := uint64(headers + len(program))
	for _, n := range []uint64{0, base, base, size, size, 0x10000} {
		b = le.AppendUint64(b, n)
	}
	return string(b) + program, nil
}

// sudoCode is, by architecture,
//
//	if (argc == 0) exit_group(127);
//	argv[0] = "sudo";
//	execve(AgentPath, argv, &argv[argc+1]);
//	exit_group(127);
//
// Both strings follow the code.
var sudoCode = map[string]func() []byte{
	"amd64": func() []byte {
		code := []byte{
			0x48, 0x8b, 0x04, 0x24, // mov rax, [rsp]
			0x48, 0x85, 0xc0, // test rax, rax
			0x74, 34, // jz exit
			0x48, 0x8d, 0x74, 0x24, 0x08, // lea rsi, [rsp+8]
			0x48, 0x8d, 0x54, 0xc6, 0x08, // lea rdx, [rsi+rax*8+8]
			0x48, 0x8d, 0x3d, 29, 0, 0, 0, // lea rdi, [rip+29]: the first string
			0x48, 0x8d, 0x1d, 22 + byte(len(AgentPath)+1), 0, 0, 0, // lea rbx, [rip+...]: the second
			0x48, 0x89, 0x1e, // mov [rsi], rbx
			0xb8, 59, 0, 0, 0, // mov eax, SYS_execve
			0x0f, 0x05, // syscall
			0xbf, 127, 0, 0, 0, // exit: mov edi, 127
			0xb8, 231, 0, 0, 0, // mov eax, SYS_exit_group
			0x0f, 0x05, // syscall
		}
		return code
	},
	"arm64": func() (code []byte) {
		const words = 13
		for i, word := range []uint32{
			0xf94003e3,          // ldr x3, [sp]
			0xb4000003 | 9<<5,   // cbz x3, exit
			0x910023e1,          // add x1, sp, #8
			0x8b030c22,          // add x2, x1, x3, lsl #3
			0x91002042,          // add x2, x2, #8
			0x10000000,          // adr x0, the first string
			0x10000004,          // adr x4, the second
			0xf9000024,          // str x4, [x1]
			0xd2801ba8,          // mov x8, #SYS_execve
			0xd4000001,          // svc #0
			0xd2800000 | 127<<5, // exit: mov x0, #127
			0xd2800bc8,          // mov x8, #SYS_exit_group
			0xd4000001,          // svc #0
		} {
			switch offset := uint32(4 * (words - i)); word {
			case 0x10000000:
				word |= offset&3<<29 | offset>>2<<5
			case 0x10000004:
				offset += uint32(len(AgentPath) + 1)
				word |= offset&3<<29 | offset>>2<<5
			}
			code = binary.LittleEndian.AppendUint32(code, word)
		}
		return code
	},
}
