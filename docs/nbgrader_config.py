"""nbgrader's configuration for this course: copy it beside `source/`. What is not here is nbgrader's default.

source/lab01/01_fake_quant.ipynb         labs/01_fake_quant.ipynb, as it is
downloaded/lab01/archive/*.ipynb         what Canvas's zip holds (for `nbgrader zip_collect lab01`)
"""

c = get_config()  # nbgrader defines it

c.CourseDirectory.course_id = "qcourse"
c.ExecutePreprocessor.timeout = 60  # seconds a cell, then the kernel is interrupted
c.ExecutePreprocessor.interrupt_on_timeout = True

# Canvas: doejane_LATE_12345_67890_01_fake_quant-1.ipynb
c.FileNameCollectorPlugin.named_regexp = (
    r"(.*/)?(?P<student_id>[^_/]+)_(LATE_)?\d+_\d+_(?P<file_id>\d\d_[a-z0-9_]+?)(-\d+)?\.ipynb"
)
# Moodle: c.FileNameCollectorPlugin.named_regexp = (
#     r".*/(?P<student_id>[^_/]+)_\d+_assignsubmission_file_?/(?P<file_id>\d\d_[a-z0-9_]+)\.ipynb")
