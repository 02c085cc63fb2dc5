"""The exercises of appendix A1, by key: by hand, explain, build, design. `qcourse.checks.exercises` asks and checks."""

from qcourse.study.exercises_build import BUILD
from qcourse.study.exercises_core import CORE
from qcourse.study.exercises_design import DESIGN
from qcourse.study.exercises_warm_up import WARM_UP

EXERCISES = {e.key: e for e in (*WARM_UP, *CORE, *BUILD, *DESIGN)}
