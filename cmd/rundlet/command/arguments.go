package command

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// argFields are where /proc/self/stat has the addresses of the begin and the end of the command line, behind the name of the program.
const argFields = 45

// hideArgument overwrites a text in the command line of this process, which is /proc/PID/cmdline; nothing on systems without it. It
// does not change texts that were cloned.
func hideArgument(text string) error {
	stat, err := os.ReadFile("/proc/self/stat")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = overwrite(string(stat), text)
	}
	if err != nil {
		return fmt.Errorf("overwrite a password in the command line: %w", err)
	}
	return nil
}

func overwrite(stat, text string) error {
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	if len(fields) < argFields+2 {
		return errors.New("unknown form of /proc/self/stat")
	}
	begin, errBegin := strconv.ParseInt(fields[argFields], 10, 64)
	end, errEnd := strconv.ParseInt(fields[argFields+1], 10, 64)
	if err := errors.Join(errBegin, errEnd); err != nil {
		return err
	}
	const most = 8 << 20 // More than Linux gives a program.
	if begin <= 0 || end < begin || end-begin > most {
		return errors.New("unknown form of /proc/self/stat")
	}
	memory, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	line := make([]byte, end-begin)
	if _, err := memory.ReadAt(line, begin); err != nil {
		return err
	}
	for at := 0; ; at += len(text) {
		next := bytes.Index(line[at:], []byte(text))
		if next < 0 || text == "" {
			return nil
		}
		at += next
		if _, err := memory.WriteAt(bytes.Repeat([]byte("x"), len(text)), begin+int64(at)); err != nil {
			return err
		}
	}
}
