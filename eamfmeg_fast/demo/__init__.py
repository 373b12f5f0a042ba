"""The demonstration: a made-up person's micro-expression on the astronaut's portrait."""

from eamfmeg_fast.demo.run import DemoFiles, demo

__all__ = ["DemoFiles", "demo"]
