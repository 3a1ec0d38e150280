// Package root is the archive in which a cage's root, a tree of files with programs and libraries, travels: one file,
// named by its plain SHA-256, so that one tree has one name wherever it was packed.
//
// It is a tar archive that every tar can unpack, of which only one spelling is accepted. Entries are folders, regular
// files and symbolic links, sorted by path as bytes, each after its folder; the top folder itself is none. There are no
// owners and no times. Modes are permission bits alone, and their owner can read. A hard link is written as a copy.
// Headers are USTAR with the fields below and zero bytes everywhere else; a path or link of more than 100 bytes, and a
// file of 8 GiB or more, has a PAX header in front with exactly the records that it needs, in the order linkpath, path,
// size. After the last entry come two blocks of zero bytes and the end.
//
// Reader refuses everything else: a second spelling, absolute or dotted paths, an entry that is there twice, out of order
// or below something that is no folder, sizes over the bounds, bytes after the end. What it accepts can be unpacked by
// plain joining of paths into an empty folder and nothing lands outside.
//
// The package is pure: it reads and writes streams.
package root
