// Package filesystem reads the files of a partition: it mounts the filesystem
// where nobody else sees it, so that the mount goes with the process, and walks
// through the tree with reads in many places at once. It owns loop devices, mounts
// and the order of a tree; it refuses to write, to know which partitions there
// are, and to know what becomes of the files.
package filesystem
