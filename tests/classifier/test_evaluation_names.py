"""Files of one name that are evaluated do not overwrite each other."""

import json
from pathlib import Path

from jaxattn.classifier.evaluation import _name_of_file
from jaxattn.runs.folder import RunFolder


def test_another_file_of_the_same_name_gets_its_folders_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "finetune", "x")
    folder.path.mkdir(parents=True)

    def evaluated(path: str) -> str:
        name = _name_of_file(folder, Path(path))
        (folder.path / f"evaluation_{name}.json").write_text(json.dumps({"input": path}))
        return name

    files = ("/a/test.csv", "/b 1/test.csv", "/b 1/test.jsonl", "/a/test.csv", "/c/a/test.csv")
    names = ["file_test", "file_b_1_test", "file_b_1_test_", "file_test", "file_a_test"]
    found = [evaluated(path) for path in files]
    assert found[:2] == names[:2] and found[3:] == names[3:]
    assert found[2].startswith(names[2]) and len(found[2]) == len(names[2]) + 8
    # A report of before does not say of which file it is, and is replaced as it was then.
    (folder.path / "evaluation_file_old.json").write_text("{}")
    assert evaluated("/a/old.csv") == "file_old"
