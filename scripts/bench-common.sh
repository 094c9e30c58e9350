# What the benchmarks share; they source it.

say() { echo "bench: $*" >&2; }

# need PROGRAM...: ends where one is not installed.
need() {
  local program
  for program; do
    command -v "$program" >/dev/null || { say "$program is not installed"; exit 1; }
  done
}

# usr_bytes FILE MIB: the contents of the files of /usr, again and again where
# they are not enough.
usr_bytes() {
  local list="$1.list" want=$(($2 << 20)) have=0
  find /usr -type f -size -64M -readable 2>/dev/null | LC_ALL=C sort | tr '\n' '\0' >"$list"
  : >"$1"
  while [[ $have -lt $want ]]; do
    # head ends the pipe, and files may vanish: what counts is what has come.
    (xargs -0 cat <"$list" 2>/dev/null | head -c "$((want - have))" >>"$1") || true
    [[ $(stat -c %s "$1") -gt $have ]] || { say "no readable files in /usr"; exit 1; }
    have=$(stat -c %s "$1")
  done
  rm "$list"
}

# usr_tree FOLDER MIB: copies of files of /usr with at most that many bytes.
usr_tree() {
  mkdir "$1"
  find /usr -type f -size -64M -readable -printf '%s %p\n' 2>/dev/null | LC_ALL=C sort -k2 |
    awk -v most=$(($2 << 20)) 'size < most { size += $1; sub(/^[0-9]+ /, ""); print }' >"$1.list"
  tar -c -C / --no-recursion --verbatim-files-from -T "$1.list" 2>/dev/null | tar -x -C "$1"
  rm "$1.list"
}
