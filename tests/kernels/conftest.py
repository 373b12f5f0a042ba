"""The compiled rooms built beside the installed library; EAMFMEG_SANITIZE=1 builds them under sanitizers."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from eamfmeg_fast.kernels.side_build import (
    SANITIZERS,
    SideLibrary,
    build_cpu,
    build_cuda,
    build_cuda_on_host,
    find_nvcc,
)

_SANITIZE = SANITIZERS if os.environ.get("EAMFMEG_SANITIZE") == "1" else ()


def _need_compiler() -> None:
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        pytest.skip("NOT RUN: no C++ compiler")


@pytest.fixture(scope="session")
def faulty_library(tmp_path_factory: pytest.TempPathFactory) -> SideLibrary:
    """All `*_cpu.cpp` compiled with -DEAMFMEG_MUTANTS."""
    _need_compiler()
    return build_cpu(tmp_path_factory.mktemp("mutants"), _SANITIZE)


@pytest.fixture(scope="session")
def cuda_on_host(tmp_path_factory: pytest.TempPathFactory) -> SideLibrary:
    """All `*_cuda.cu` compiled for the CPU through the host shim, with -DEAMFMEG_MUTANTS."""
    _need_compiler()
    return build_cuda_on_host(tmp_path_factory.mktemp("cuda_on_host"), _SANITIZE)


@pytest.fixture(scope="session")
def cuda_with_faults(tmp_path_factory: pytest.TempPathFactory) -> SideLibrary:
    """All `*_cuda.cu` compiled for the device that is here, with -DEAMFMEG_MUTANTS."""
    if find_nvcc() is None:
        pytest.skip("NOT RUN: no nvcc")
    major, minor = torch.cuda.get_device_capability()
    return build_cuda(tmp_path_factory.mktemp("cuda_with_faults"), f"{major}{minor}")
