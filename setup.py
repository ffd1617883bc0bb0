"""What pyproject.toml cannot say: the folder configs/ is installed as jaxattn/configs."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["jaxattn", "jaxattn.*"]),
        "jaxattn.configs",
        "jaxattn.configs.sweeps",
    ],
    package_dir={"jaxattn.configs": "configs"},
)
