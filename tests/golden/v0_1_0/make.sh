# Made with jaxattn 0.1.0 at commit 2c1bbd1, from this folder: bash make.sh
set -e; rm -rf runs exported labels.jsonl
J=jaxattn
python - <<'P'
import sys; sys.path.insert(0,"../..")
from tests.conftest import write_corpus
from pathlib import Path
write_corpus(Path("corpus"), {"train": 60, "validation": 20, "test": 20})
P
C="--config=base.py --config.data.name=animals --config.data.path=corpus --config.data.max_length=32 --config.data.length_buckets=16,32 --config.tokenizer.vocab_size=150 --config.train.batch_size=8 --config.train.learning_rate=0.005 --config.train.epochs=2 --config.log.every_steps=3 --config.attention.reformer_lsh.chunk_size=8 --config.attention.reformer_lsh.num_hashes=2 --config.model.num_layers=1 --config.model.hidden_dim=16 --config.model.mlp_dim=32 --config.model.num_heads=2 --config.model.qkv_dim=16 --config.model.max_seq_len=32"
for a in sdpa reformer_lsh performer_favor; do
 $J --mode=pretrain $C --exp=mlm_$a --config.attention.type=$a
 $J --mode=finetune $C --exp=clf_$a --pretrain=mlm_$a --config.attention.type=$a
done
$J --mode=tapt $C --exp=clf_sdpa --pretrain=mlm_sdpa
$J --mode=baseline $C --exp=tfidf
$J --mode=eval --exp=clf_sdpa
$J --mode=export --exp=clf_reformer_lsh --output=exported
$J --mode=predict --exp=clf_sdpa --input=corpus/test.jsonl --output=labels.jsonl
$J --mode=compare
python - <<'Q'
from pathlib import Path
from jaxattn.modes.finetune import finetune
from jaxattn.modes.run_folder import RunFolder
from jaxattn.train.loop import InterruptedRun
runs=Path("runs")
config, extra = RunFolder(runs, "finetune", "clf_performer_favor").saved_config()
try:
    finetune(RunFolder(runs, "finetune", "halved"), config, runs, extra["pretrain"], stop_after=11)
except InterruptedRun: pass
Q
