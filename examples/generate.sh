#!/usr/bin/env bash
# Motion for a prompt (first argument) from a running service; writes motion.json and says what it holds.
set -euo pipefail
prompt=${1:-a person waves with the right hand}
service=${2:-http://127.0.0.1:7100}

body=$(python3 -c 'import json, sys; print(json.dumps({"prompt": sys.argv[1], "duration_sec": 4, "seed": 7}))' "$prompt")
curl --fail-with-body --silent --show-error --output motion.json \
  -X POST "$service/v1/motion/generate" -H 'content-type: application/json' -d "$body"
python3 - <<'PY'
import json

motion = json.load(open("motion.json", encoding="utf-8"))
print(f"motion.json: {motion['duration_sec']:g} s at {motion['fps']:g} fps by {motion['metadata']['generator']}")
print(f"bones: {', '.join(motion['tracks'])}")
PY
