// Package crashdisk records every write to a disk and cuts its power at any of
// them. A separate process serves the disk as a file through FUSE; a loop
// device with a file system is put on that file, and the program under test works
// in it. Afterwards each cut is another file: the disk as it may be found after a
// power cut behind so many writes, to be mounted and looked at. It is a tool of
// tests, needs root and Linux, and may import nothing of Rundlet.
package crashdisk
