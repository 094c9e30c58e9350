// Package treetest makes trees with every case that a tar can get wrong, on real
// filesystems and disks, and compares trees entry by entry. It is for tests and
// checks the product, so it shares no code with it: what both got wrong the same
// way would look right. It is for Linux on machines of 64 bits; most of it needs
// root, and skips without.
//
// Make fills a folder, Read takes down what is there, Diff names what differs.
// Image, Mounted, Dirty and Subvolumes make filesystems; Disk makes disks with
// partition tables; Untar, TarDiff and BsdtarList run the programs that must
// understand what was archived.
package treetest
