#!/usr/bin/env bash
# Official checkpoints and what they need, into ./models/motion and ./data/motion. Arguments go to `motion download`:
#   scripts/motion/download_mdm_assets.sh                  mdm, mdm-encoder, dip, their text encoders, the statistics
#   scripts/motion/download_mdm_assets.sh --only mdm dip   these two and what they need
#   scripts/motion/download_mdm_assets.sh --list           what there is
# Sets up .venv with the text encoders first, which is quick when nothing changed. In the container: motion download.
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts/motion/setup official
exec .venv/bin/motion download "$@"
