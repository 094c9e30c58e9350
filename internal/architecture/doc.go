// Package architecture holds the rules of this house as tests: who may import
// whom, which habits the code keeps, and that the documents name what is there.
// It has no code of its own, and no rule that a compiler or linter holds already.
package architecture
