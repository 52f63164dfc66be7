#!/usr/bin/env bash
# By curl: a picture, a better picture, progress, and a task that is cancelled.
set -euo pipefail
URL=${SDXL_RELAY_URL:-http://127.0.0.1:3000}
JSON='content-type: application/json'

curl --fail-with-body -sS "$URL/generate" -H "$JSON" \
  -d '{"prompt": "a red cube, white background", "seed": 1, "refine": "none"}' -o cube.png

curl --fail-with-body -sS "$URL/refine" -F image=@cube.png -F prompt='a red cube, white background' -F seed=1 \
  -o cube-refined.png

# -N shows each event as it comes; the picture itself, in base64, is cut off here.
curl --fail-with-body -sSN "$URL/generate_stream" -H "$JSON" \
  -d '{"prompt": "a blue cone, white background", "num_inference_steps": 5}' | cut -c 1-100

task=$(curl --fail-with-body -sS "$URL/generate/submit" -H "$JSON" \
  -d '{"prompt": "a green cone", "num_inference_steps": 150, "width": 256, "height": 256}' | sed 's/.*"task_id":"\([0-9a-f]*\)".*/\1/')
curl --fail-with-body -sS "$URL/generate/status?task_id=$task"; echo
curl --fail-with-body -sS -X PUT "$URL/generate/cancel?task_id=$task"; echo
