// Package catalog says which snapshots there are, what their tags say of them,
// and whose they are while they are worked on.
//
// # Claims
//
// EC2 has no compare-and-swap for tags, so a claim is a dance: read the tags,
// write the tag with a random id and the owner in one call, wait (Settle), read
// again. The claim holds when the tags still show what was written. Whoever
// wrote last wins; the others see a foreign id and step back. The tag and the id
// are the predecessor's, so both tools step back for each other.
//
// What this promises: of any number of runs that claim a snapshot at once, at
// most one goes on, provided that each run's write shows to all others within
// Settle after the read that preceded it. Where that does not hold (a call that
// hung, a process that was stopped between read and write) two runs may both
// believe that they won. The one whose write was overwritten learns it at its
// next Check, and Check comes before every commit: what remains is a commit
// between a Check and a foreign write. Objects are therefore written such that
// two runs cannot mix (see the order of writing in docs/format.md).
//
// What it does not promise: fairness, or that anybody wins. Two runs can both
// step back; the snapshot is then claimed again later.
//
// The owner is renewed while the work goes on. A run that could not renew for 30
// minutes stops and writes nothing any more; others take a claim for dead only
// after 60 minutes. The gap between the two is what keeps a run that was
// suspended from overwriting its successor. The predecessor writes no owner and
// never looks again, so its claims cannot be told from dead ones: they are taken
// over only where a person names the snapshot, with a warning.
//
// A reading may be older than our own write. One that shows neither our claim
// nor a foreign one is taken for that, and repeated a few times.
package catalog
