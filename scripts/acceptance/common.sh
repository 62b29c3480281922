# shellcheck shell=bash
# Sourced by scripts/op_acceptance and scripts/model_zoo.

# prepare_acceptance REQUIREMENTS...: the runner built, the packages on Python's path.
prepare_acceptance() {
  bash scripts/setup
  use_environment
  configure release
  ninja -C build/release -j "$(build_jobs)" monograph_acceptance
  local site=$ROOT/build/acceptance/site file mark
  if ! command -v uv >/dev/null; then PATH=$ROOT/build/uv/bin:$PATH; fi  # where scripts/setup put it
  for file in "$@"; do
    mark=$site/.$(basename "$file").$(md5sum <"$file" | cut -c1-12)
    [ -f "$mark" ] && continue
    step "Installing $(basename "$file") into build/acceptance/site"
    mkdir -p "$site"
    # torch itself is the one of scripts/setup: torchvision must not bring another.
    uv pip install --quiet --python "$PYTHON" --target "$site" --no-deps -r "$file"
    if grep -q transformers "$file"; then
      uv pip install --quiet --python "$PYTHON" --target "$site" \
        "$(grep '^transformers' "$file")"
    fi
    touch "$mark"
  done
  export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
}

# run_cases FOLDER: every manifest below it. A case that crashes the runner is known by its "begin"
# line, counts as failed, and the next start goes on behind it.
run_cases() {
  local manifest folder status try
  while IFS= read -r manifest; do
    folder=$(dirname "$manifest")
    for try in $(seq 1 50); do
      status=0
      build/release/bin/monograph_acceptance "$folder" "$folder/report.jsonl" || status=$?
      [ "$status" -gt 1 ] || break
      printf 'crash %s (status %s) in %s\n' "$try" "$status" "$folder"
    done
  done < <(find "$1" -name manifest.jsonl | sort)
}
