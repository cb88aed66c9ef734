# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, binding=False
# cython: freethreading_compatible=True
"""Compute calls whose arguments are plain, and return None for all others. Releases the GIL. Raises only MemoryError,
and what the flags of a call (such as keepdims) or its random generator raise.

What is wrong with an argument is said in _validate.py, algorithms are in csrc/.
"""

cimport numpy as cnp
from libc.math cimport INFINITY, NAN, fabs, isfinite, isinf, ldexp
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcpy, memset
from cpython cimport contextvars
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_AsLongAndOverflow, PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_CheckExact

import numpy as _numpy

cnp.import_array()

cdef extern from "<stdatomic.h>" nogil:
    ctypedef int atomic_int  # plain reads and writes are atomic

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cdef extern from "environment.h" nogil:
    ctypedef struct sl_environment:  # a number, or fenv_t
        pass
    sl_environment sl_enter_default()
    void sl_leave_default(sl_environment before)
    double sl_quotient(double a, double b)
    float sl_narrow(double a)

cdef extern from "softlane.h" nogil:
    ctypedef enum sl_op:
        SL_SOFTMAX
        SL_LOG_SOFTMAX
        SL_SOFTMAX_HESSIAN_DIAG
        SL_LOGSUMEXP
        SL_ENTROPY
        SL_KL_DIVERGENCE
        SL_EXPECTATION
        SL_CROSS_ENTROPY
        SL_CROSS_ENTROPY_GRAD
        SL_NLL
        SL_LOG_LOSS
        SL_TAKE_PROBS
        SL_TAKE_LOG_PROBS
        SL_TOPK
        SL_TOPK_PROBS
        SL_TOPK_LOG_PROBS
        SL_RANK
        SL_SAMPLE
        SL_SOFTMAX_VJP
        SL_LOG_SOFTMAX_VJP
        SL_PART_STATISTICS
        SL_PART_STATISTICS_WITH_DEVIATION
        SL_PART_SOFTMAX
        SL_PART_LOG_SOFTMAX
        SL_SIGMOID
        SL_LOG_SIGMOID
        SL_SIGMOID_VJP
        SL_BINARY_CROSS_ENTROPY
        SL_BINARY_CROSS_ENTROPY_GRAD
        SL_BINARY_CROSS_ENTROPY_OF_PROBS
        SL_BINARY_CROSS_ENTROPY_OF_PROBS_GRAD
    enum:
        SL_BLOCK
    ctypedef enum sl_dtype:
        SL_FLOAT32
        SL_FLOAT64
        SL_FLOAT16
        SL_BFLOAT16
        SL_INT8
        SL_UINT8
        SL_INT16
        SL_UINT16
        SL_BOOL
    ctypedef struct sl_job:
        sl_op op
        sl_dtype x_dtype, y_dtype
        const void *x
        void *y
        Py_ssize_t outer, n, inner
        const unsigned char *mask
        const double *temperature
        Py_ssize_t temperature_step
        int negate
        const void *args
    ctypedef struct sl_loss_args:
        const int64_t *target
        int64_t ignore_index
        const void *mass
        sl_dtype mass_dtype
        const void *class_weight
        const double *row_weight
        double label_smoothing
        const int64_t *visible
        double scale
        double *loss
        double slack
        unsigned char *outside
    ctypedef struct sl_indices:
        void *at
        int size
    ctypedef struct sl_select_args:
        Py_ssize_t k
        sl_indices index
        sl_indices rank
        int sorted
    ctypedef struct sl_sample_args:
        Py_ssize_t draws
        int without_replacement
        sl_indices index
        const double *uniform
        const int64_t *top_k
        const double *top_p
        const double *min_p
        Py_ssize_t top_k_step, top_p_step, min_p_step
    ctypedef struct sl_part_args:
        double *max
        double *others
        double *others_low
        double *deviation
    ctypedef struct sl_weight:
        double max
    ctypedef struct sl_moment:
        int64_t top
    ctypedef struct sl_summary:
        sl_weight *weight
        sl_moment *moment
        const double *temperature
        Py_ssize_t temperature_step
    ctypedef struct sl_best:
        double *value
        int64_t *key
    ctypedef enum sl_summary_step:
        SL_BEGIN
        SL_MERGE
        SL_FINISH
    ctypedef struct sl_summary_job:
        sl_summary_step step
        Py_ssize_t rows, k
        sl_part_args statistics
        sl_summary a, b, y
        sl_best a_best, b_best, y_best
        double *log_sum
        double *logsumexp
        double *entropy
    enum:
        SL_WEIGHT_DIGITS
        SL_MOMENT_DIGITS
    const int64_t SL_MASKED_CLASS
    const int64_t SL_NO_CLASS
    ctypedef struct sl_elementwise_job:
        sl_op op
        sl_dtype x_dtype, y_dtype
        const void *x
        const void *target
        const void *weight
        const void *pos_weight
        const void *output
        const double *temperature
        Py_ssize_t temperature_step
        void *y
        void *loss
        double *sums
        double *scaled_sums
        unsigned char *outside
        double scale
        Py_ssize_t n
    ctypedef struct sl_isa:
        const char *name
        Py_ssize_t (*wrong_target)(const int64_t *target, Py_ssize_t count, Py_ssize_t n, int64_t ignore_index,
                                   Py_ssize_t *counted)
        double (*total_weight)(const int64_t *target, Py_ssize_t count, int64_t ignore_index, const double *weight,
                               const double *row_weight)
        double (*total)(const double *x, Py_ssize_t count)
        void (*count_visible)(const sl_job *job, int64_t *visible)
    int sl_run(const sl_job *job, int threads)
    void sl_run_elementwise(const sl_elementwise_job *job, int threads)
    void sl_run_summaries(const sl_summary_job *job, int threads)
    int sl_may_share(Py_ssize_t elements)
    int sl_most_threads()
    const char *sl_thread_engine()
    int sl_isa_count()
    const char *sl_isa_name(int i)
    const sl_isa *sl_active()
    int sl_use_isa(const char *name)

# An operation, as Python names it, is one of sl_op, plus NEGATE where it reads x as -x.
cdef enum:
    NEGATE = 256

SOFTMAX = <int>SL_SOFTMAX
SOFTMIN = <int>SL_SOFTMAX + NEGATE
LOG_SOFTMAX = <int>SL_LOG_SOFTMAX
LOGSUMEXP = <int>SL_LOGSUMEXP
EXPECTATION = <int>SL_EXPECTATION
ENTROPY = <int>SL_ENTROPY
KL_DIVERGENCE = <int>SL_KL_DIVERGENCE
SOFTMAX_HESSIAN_DIAG = <int>SL_SOFTMAX_HESSIAN_DIAG
CROSS_ENTROPY = <int>SL_CROSS_ENTROPY
NLL = <int>SL_NLL
LOG_LOSS = <int>SL_LOG_LOSS
TAKE_PROBS = <int>SL_TAKE_PROBS
TAKE_LOG_PROBS = <int>SL_TAKE_LOG_PROBS
TOPK = <int>SL_TOPK
TOPK_PROBS = <int>SL_TOPK_PROBS
TOPK_LOG_PROBS = <int>SL_TOPK_LOG_PROBS
TOPK_OF_NEGATED = <int>SL_TOPK + NEGATE
RANK = <int>SL_RANK
SOFTMAX_VJP = <int>SL_SOFTMAX_VJP
LOG_SOFTMAX_VJP = <int>SL_LOG_SOFTMAX_VJP
PART_STATISTICS = <int>SL_PART_STATISTICS
PART_STATISTICS_WITH_DEVIATION = <int>SL_PART_STATISTICS_WITH_DEVIATION
PART_SOFTMAX = <int>SL_PART_SOFTMAX
PART_LOG_SOFTMAX = <int>SL_PART_LOG_SOFTMAX
SIGMOID = <int>SL_SIGMOID
LOG_SIGMOID = <int>SL_LOG_SIGMOID
BINARY_CROSS_ENTROPY = <int>SL_BINARY_CROSS_ENTROPY
BINARY_CROSS_ENTROPY_OF_PROBS = <int>SL_BINARY_CROSS_ENTROPY_OF_PROBS
SIGMOID_VJP = <int>SL_SIGMOID_VJP

# Temperatures that the kernels take are from 1 / limit to limit.
cdef double TEMPERATURE_LIMIT_F32 = 2.0**24
cdef double TEMPERATURE_LIMIT_F64 = 2.0**100
TEMPERATURE_LIMITS = TEMPERATURE_LIMIT_F32, TEMPERATURE_LIMIT_F64

# Classes of a row that the lists of the float32 kernels have no numbers for.
cdef int64_t TOO_MANY_CLASSES = 1LL << 32
MOST_CLASSES = TOO_MANY_CLASSES

# Elements from which a call is worth giving the GIL away: some 2 us of work.
cdef enum:
    RELEASE_FROM = 16384

# A step on the summary of a row costs as much as so many elements.
cdef enum:
    SUMMARY_COST = 64

# How many threads a call may use: for the whole process, and for calls of one context, where it is set.
cdef atomic_int threads = 1
cdef atomic_int is_set = 0  # by the user: then the settings of OpenMP do not count
thread_limit = contextvars.PyContextVar_New("softlane.num_threads", NULL)

sl_isa_count()


cdef inline int threads_of_process() noexcept:
    return threads if is_set else min(<int>threads, sl_most_threads())


cdef int threads_for(Py_ssize_t elements) except -1:
    if not sl_may_share(elements):
        return 1
    limit = contextvars.get_value_no_default(thread_limit)
    return threads_of_process() if limit is None else limit


cdef int execute(const sl_job *job, Py_ssize_t classes=0) except -1:
    """classes: of each row that are looked at, if not all are"""
    cdef int status, count
    cdef Py_ssize_t elements = job.outer * (classes or job.n) * job.inner
    if elements < RELEASE_FROM:
        status = sl_run(job, 1)
    else:
        count = threads_for(elements)
        with nogil:
            status = sl_run(job, count)
    if status:
        raise MemoryError("softlane: no memory for the scratch buffers")
    return 0


cdef inline void prepare(sl_job *job, int op, int x_dtype, int y_dtype) noexcept:
    """A job without options."""
    job.op = <sl_op>(op % NEGATE)
    job.negate = op >= NEGATE
    job.x_dtype = <sl_dtype>x_dtype
    job.y_dtype = <sl_dtype>y_dtype
    job.mask = NULL
    job.temperature = NULL
    job.temperature_step = 0
    job.args = NULL


cdef inline bint apart(const char *a, const char *b, Py_ssize_t size_a, Py_ssize_t size_b) noexcept:
    return a + size_a <= b or b + size_b <= a


cdef atomic_int bfloat16 = -1  # NumPy's number for it, once it has been seen
cdef object float32_type = _numpy.float32, float64_type = _numpy.float64


def register_bfloat16(int type_num, /):
    global bfloat16
    bfloat16 = type_num


cdef inline bint is_in_range(double t, bint is_wide) noexcept:
    cdef double limit = TEMPERATURE_LIMIT_F64 if is_wide else TEMPERATURE_LIMIT_F32
    return t * limit >= 1 and t <= limit


# What NumPy computes is to be in the default floating-point environment as well.

def enter_default_environment():
    """What `leave_default_environment` takes"""
    cdef sl_environment before = sl_enter_default()
    return (<const char *>&before)[:sizeof(before)]


def leave_default_environment(bytes before, /):
    cdef sl_environment given
    memcpy(&given, <const char *>before, sizeof(given))
    sl_leave_default(given)


# ---- arguments ------------------------------------------------------------------------------------------------------
# Public functions try `rows`, `topk`, ... first, with their arguments as they came (AS_GIVEN). Where these are plain
# the result comes back. None says that nothing was written, and that the Python files have to check, convert or cut
# something. They then call the same function with arrays that they have checked (CHECKED), or with chunks of them
# (COPY).
#
# An argument has one of a few kinds, each read by one function take_<kind>: take_x, take_axes, take_like_x, take_mask,
# take_temperature, take_per_class, take_classes and so on. Arrays of another layout or dtype are copied, up to
# MOST_COPIED elements.

cdef enum mode:
    _AS_GIVEN  # nobody has checked an argument: `out` may be of another shape, read-only, or overlap the others
    _CHECKED   # the Python files have; arrays up to MOST_COPIED elements are copied, where that has to be
    _COPY      # the same, with arrays of any size

AS_GIVEN = <int>_AS_GIVEN
CHECKED = <int>_CHECKED
COPY = <int>_COPY

# Elements of an array that may be copied: 1 MiB of float32, which the second-level cache holds
cdef enum:
    _MOST_COPIED = 1 << 18

MOST_COPIED = <int>_MOST_COPIED

cdef struct call:
    sl_job job
    int mode
    int ndim, first, last          # the class axes of x are first to last - 1
    int x_type, native_type        # NumPy's numbers of the type of x, as it came, and of results of it
    int y_type, result_type        # of the types that the kernels write and that the caller gets
    bint is_wide                   # computed in float64
    bint owns_x                    # x is a copy that nobody else has
    double temperature             # where it is one number


cdef inline int native_type(int type_num) noexcept:
    """The type of results of an input's type; -1 where the kernels have none."""
    if type_num in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE, cnp.NPY_FLOAT16) or (type_num == bfloat16 and bfloat16 >= 0):
        return type_num
    if type_num <= cnp.NPY_USHORT:  # bool and integers of 8 and 16 bits
        return cnp.NPY_FLOAT
    return cnp.NPY_DOUBLE if type_num <= cnp.NPY_ULONGLONG else -1


cdef inline int storage_of(int type_num, bint is_wide) noexcept:
    """How the kernels of a compute type know a type; -1 where they do not."""
    if is_wide:
        return SL_FLOAT64 if type_num == cnp.NPY_DOUBLE else -1
    if type_num == cnp.NPY_FLOAT:
        return SL_FLOAT32
    if type_num == cnp.NPY_FLOAT16:
        return SL_FLOAT16
    if type_num == cnp.NPY_UBYTE:
        return SL_UINT8
    if type_num == cnp.NPY_BYTE:
        return SL_INT8
    if type_num == cnp.NPY_USHORT:
        return SL_UINT16
    if type_num == cnp.NPY_SHORT:
        return SL_INT16
    if type_num == cnp.NPY_BOOL:
        return SL_BOOL
    return SL_BFLOAT16 if type_num == bfloat16 and bfloat16 >= 0 else -1


cdef int type_of(dtype) noexcept:
    """NumPy's number of a dtype argument that results may have; -1 for any other."""
    cdef cnp.dtype d
    if dtype is float32_type:
        return cnp.NPY_FLOAT
    if dtype is float64_type:
        return cnp.NPY_DOUBLE
    if not isinstance(dtype, cnp.dtype):
        return -1
    d = <cnp.dtype>dtype
    if d.type_num in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE, cnp.NPY_FLOAT16) and d.byteorder in (c"=", c"|"):
        return d.type_num
    return d.type_num if d.type_num == bfloat16 and bfloat16 >= 0 else -1


cdef cnp.ndarray as_plain(a, int type_num, int mode):
    """An array in memory that the kernels can read, of a type; None where it is none, or too large to be copied."""
    cdef cnp.ndarray array = <cnp.ndarray>a
    if cnp.PyArray_TYPE(array) == type_num and cnp.PyArray_ISCARRAY_RO(array):
        return array
    if mode != _COPY and cnp.PyArray_SIZE(array) > _MOST_COPIED or native_type(cnp.PyArray_TYPE(array)) < 0:
        return None
    if type_num == cnp.NPY_FLOAT and cnp.PyArray_TYPE(array) == cnp.NPY_DOUBLE:
        return narrowed(copy_of(array, cnp.NPY_DOUBLE))
    return copy_of(array, type_num)


# What follows computes here and not in a kernel: in the default floating-point environment, as those.

cdef cnp.ndarray copy_of(cnp.ndarray a, int type_num):
    cdef cnp.ndarray copy = <cnp.ndarray>cnp.PyArray_EMPTY(cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), type_num, 0)
    cdef sl_environment before = sl_enter_default()
    try:
        cnp.PyArray_CopyInto(copy, a)
    finally:
        sl_leave_default(before)
    return copy


cdef cnp.ndarray narrowed(cnp.ndarray wide):
    """float64 as float32, without the warnings of NumPy about what overflows."""
    cdef cnp.ndarray narrow = <cnp.ndarray>cnp.PyArray_EMPTY(
        cnp.PyArray_NDIM(wide), cnp.PyArray_DIMS(wide), cnp.NPY_FLOAT, 0
    )
    cdef const double *source = <const double *>cnp.PyArray_DATA(wide)
    cdef float *to = <float *>cnp.PyArray_DATA(narrow)
    cdef Py_ssize_t i
    cdef sl_environment before = sl_enter_default()
    for i in range(cnp.PyArray_SIZE(wide)):
        to[i] = <float>source[i]
    sl_leave_default(before)
    return narrow


cdef cnp.ndarray array_or_list(x):
    """x as an array of numbers; None where it is neither an array, exactly, nor a list of others that makes one."""
    if cnp.PyArray_CheckExact(x):
        return <cnp.ndarray>x
    if not PyList_CheckExact(x) or len(<list>x) and cnp.PyArray_Check((<list>x)[0]):
        return None
    try:
        return cnp.PyArray_FROM_O(x)
    except Exception:
        return None


cdef bint are_numbers(list x, int depth=0) noexcept:
    """Python's own, also in lists: making an array of them runs no code of the caller."""
    for item in x:
        if type(item) is not float and type(item) is not int and type(item) is not bool:
            if type(item) is not list or depth > 64 or not are_numbers(<list>item, depth + 1):
                return False
    return True


cdef cnp.ndarray array_or_numbers(x):
    """The same for arguments beside x, whose memory is known already: code of the caller could resize it."""
    return None if type(x) is list and not are_numbers(<list>x) else array_or_list(x)


cdef inline bint take_axes(call *c, axis) noexcept:
    """One class axis, several that lie together, or all."""
    cdef int overflow = 0
    cdef long k, least = c.ndim, most = -1
    cdef unsigned long long seen = 0
    if PyLong_CheckExact(axis):
        least = most = PyLong_AsLongAndOverflow(axis, &overflow)
        if least < 0:
            least = most = least + c.ndim
        if overflow or least < 0 or least >= c.ndim:
            return False
    elif axis is None:
        least, most = 0, c.ndim - 1
    elif PyTuple_CheckExact(axis):
        for item in <tuple>axis:
            if not PyLong_CheckExact(item):
                return False
            k = PyLong_AsLongAndOverflow(item, &overflow)
            k += c.ndim if k < 0 else 0
            if overflow or k < 0 or k >= c.ndim or seen >> k & 1:
                return False
            seen |= 1ULL << k
            least, most = min(least, k), max(most, k)
        if most - least + 1 != len(<tuple>axis):
            return False
    else:
        return False
    c.first, c.last = least, most + 1
    return c.ndim > 0


cdef inline bint is_one_axis(axis, int mode) noexcept:
    """Is it an integer? What has been checked is right for its operation: it comes as a tuple."""
    return mode != _AS_GIVEN or PyLong_CheckExact(axis)


cdef cnp.ndarray take_x(call *c, int op, x, axis, dtype, bint is_per_row, int mode):
    """x and its class axes into the job. is_per_row: results are one number for each row, worth 32 bits at least."""
    cdef cnp.ndarray a = array_or_list(x)
    cdef int i, stored, type_num
    if a is None:
        return None
    type_num = cnp.PyArray_TYPE(a)
    c.x_type = type_num
    c.result_type = c.native_type = native_type(type_num)
    c.is_wide = c.result_type == cnp.NPY_DOUBLE
    if c.result_type < 0:
        return None
    if dtype is not None:
        c.result_type = type_of(dtype)
        if c.result_type < 0:
            return None
        c.is_wide |= c.result_type == cnp.NPY_DOUBLE
    elif is_per_row and not c.is_wide:
        c.result_type = cnp.NPY_FLOAT
    c.mode = mode
    c.ndim = cnp.PyArray_NDIM(a)
    if not take_axes(c, axis):
        return None
    c.owns_x = <PyObject *>a != <PyObject *>x
    stored = storage_of(type_num, c.is_wide)
    if stored < 0 or not cnp.PyArray_ISCARRAY_RO(a):
        a = as_plain(a, type_num if stored >= 0 else cnp.NPY_DOUBLE if c.is_wide else cnp.NPY_FLOAT, mode)
        if a is None:
            return None
        c.owns_x = True
        stored = storage_of(cnp.PyArray_TYPE(a), c.is_wide)
    c.y_type = cnp.NPY_DOUBLE if c.is_wide else c.result_type
    prepare(&c.job, op, stored, storage_of(c.y_type, c.is_wide))
    c.job.x = cnp.PyArray_DATA(a)
    c.job.outer = c.job.n = c.job.inner = 1
    for i in range(c.ndim):
        if i < c.first:
            c.job.outer *= cnp.PyArray_DIM(a, i)
        elif i < c.last:
            c.job.n *= cnp.PyArray_DIM(a, i)
        else:
            c.job.inner *= cnp.PyArray_DIM(a, i)
    return a if c.job.outer > 0 and c.job.n > 0 and c.job.inner > 0 else None


cdef cnp.ndarray take_like_x(call *c, cnp.ndarray a, b, int type_num):
    """An array of the shape of a, as one of a type."""
    if not cnp.PyArray_CheckExact(b) or not cnp.PyArray_SAMESHAPE(<cnp.ndarray>b, a):
        return None
    return as_plain(b, type_num, c.mode)


cdef cnp.ndarray in_one_type(call *c, cnp.ndarray a, other):
    """x, in a type that the kernels can read both in"""
    cdef cnp.ndarray b
    if not cnp.PyArray_CheckExact(other):
        return None
    if cnp.PyArray_TYPE(<cnp.ndarray>other) == c.x_type:
        return a
    if c.mode == _AS_GIVEN:
        return None
    if native_type(cnp.PyArray_TYPE(<cnp.ndarray>other)) == cnp.NPY_DOUBLE:
        c.is_wide = True
        c.y_type = cnp.NPY_DOUBLE
        c.job.y_dtype = SL_FLOAT64
    cdef int compute_type = cnp.NPY_DOUBLE if c.is_wide else cnp.NPY_FLOAT
    b = as_plain(a, compute_type, c.mode)
    if b is not None:
        c.owns_x |= <PyObject *>b != <PyObject *>a
        c.job.x = cnp.PyArray_DATA(b)
        c.job.x_dtype = <sl_dtype>storage_of(compute_type, c.is_wide)
    return b


cdef cnp.ndarray take_mask(call *c, cnp.ndarray a, where):
    """The mask of a; a itself where there is none."""
    if where is None:
        return a
    if not cnp.PyArray_CheckExact(where) or cnp.PyArray_TYPE(<cnp.ndarray>where) != cnp.NPY_BOOL:
        return None
    cdef cnp.ndarray mask = take_like_x(c, a, where, cnp.NPY_BOOL)
    if mask is not None:
        c.job.mask = <const unsigned char *>cnp.PyArray_DATA(mask)
    return mask


cdef inline void *data(array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


cdef inline sl_indices indices(array) noexcept:
    cdef sl_indices found
    found.at = data(array)
    found.size = 0 if array is None else cnp.PyArray_ITEMSIZE(<cnp.ndarray>array)
    return found


cdef cnp.dtype int64 = _numpy.dtype(_numpy.int64)


cdef cnp.dtype as_dtype(index_dtype):
    """None for what is none. This may run code of the caller, so it comes before any memory is looked at."""
    if index_dtype is None:
        return int64
    try:
        return _numpy.dtype(index_dtype)
    except Exception:
        return None


cdef int index_type_of(cnp.dtype d, Py_ssize_t most, bint signed) noexcept:
    """NumPy's number of an integer dtype that holds `most`, and -1 where it has to be signed; -1 for any other."""
    if d is None:
        return -1
    if not cnp.PyTypeNum_ISINTEGER(d.type_num) or d.byteorder not in (c"=", c"|"):
        return -1
    if cnp.PyTypeNum_ISUNSIGNED(d.type_num):
        return -1 if signed or d.itemsize < 8 and most >> 8 * d.itemsize else d.type_num
    return -1 if most >> 8 * d.itemsize - 1 else d.type_num


cdef bint has_row_shape(call *c, cnp.ndarray a, cnp.ndarray b) noexcept:
    """Has b a number for each row of a: its shape without the class axes, or with length 1 there?"""
    cdef int i, j = 0
    cdef bint kept = cnp.PyArray_NDIM(b) == c.ndim
    if not kept and cnp.PyArray_NDIM(b) != c.ndim - (c.last - c.first):
        return False
    for i in range(c.ndim):
        if c.first <= i < c.last:
            if kept and cnp.PyArray_DIM(b, i) != 1:
                return False
            j += kept
            continue
        if cnp.PyArray_DIM(b, j) != cnp.PyArray_DIM(a, i):
            return False
        j += 1
    return True


cdef bint take_number(number, double *to) noexcept:
    """A float or an integer of Python, or the one number of an array without dimensions."""
    cdef int overflow = 0
    if PyFloat_Check(number):  # also a float64 of NumPy
        to[0] = PyFloat_AS_DOUBLE(number)
        return True
    if PyLong_CheckExact(number):
        to[0] = <double>PyLong_AsLongAndOverflow(number, &overflow)
        return not overflow
    if not cnp.PyArray_CheckExact(number) or cnp.PyArray_NDIM(<cnp.ndarray>number) or not is_float64(number):
        return False
    to[0] = (<const double *>cnp.PyArray_DATA(<cnp.ndarray>number))[0]
    return True


cdef inline bint is_float64(a) noexcept:
    return cnp.PyArray_TYPE(<cnp.ndarray>a) == cnp.NPY_DOUBLE and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>a)


cdef bint take_row_numbers(call *c, cnp.ndarray a, numbers, double *one, const double **at, Py_ssize_t *step) noexcept:
    """One number, which goes to `one`, or a plain array of one for each row; NULL for None."""
    at[0] = one
    step[0] = 0
    if numbers is None:
        at[0] = NULL
    elif not take_number(numbers, one):
        if not cnp.PyArray_CheckExact(numbers) or not is_float64(numbers):
            return False
        if not has_row_shape(c, a, <cnp.ndarray>numbers):
            return False
        at[0] = <const double *>cnp.PyArray_DATA(<cnp.ndarray>numbers)
        step[0] = cnp.PyArray_SIZE(<cnp.ndarray>numbers) > 1
    return True


cdef bint take_temperature(call *c, cnp.ndarray a, temperature) noexcept:
    """One number, or one for each row, all of which the kernels take"""
    cdef Py_ssize_t row
    if not take_row_numbers(c, a, temperature, &c.temperature, &c.job.temperature, &c.job.temperature_step):
        return False
    if c.job.temperature == NULL:
        return True
    for row in range(cnp.PyArray_SIZE(<cnp.ndarray>temperature) if c.job.temperature != &c.temperature else 1):
        if not is_in_range(c.job.temperature[row], c.is_wide):
            return False
    if c.job.temperature == &c.temperature and c.temperature == 1 and c.mode == _AS_GIVEN:
        c.job.temperature = NULL  # but not where an array has it, whose other rows may have others
    return True


cdef cnp.ndarray take_per_class(call *c, values):
    """A number for each class, of the compute type."""
    cdef cnp.ndarray a = array_or_numbers(values)
    if a is None or cnp.PyArray_NDIM(a) != 1 or cnp.PyArray_DIM(a, 0) != c.job.n:
        return None
    return as_plain(a, cnp.NPY_DOUBLE if c.is_wide else cnp.NPY_FLOAT, c.mode)


cdef cnp.ndarray take_classes(call *c, cnp.ndarray a, given, int64_t ignore, bint has_ignore, Py_ssize_t *k,
                              Py_ssize_t *counted):
    """Class indices as int64, all in range or to be ignored: k along the class axis, or one for each row (k is 0)."""
    cdef cnp.ndarray index
    cdef Py_ssize_t i
    if PyLong_CheckExact(given):
        if c.ndim != c.last - c.first:
            return None
        index = _numpy.array(given)
    else:
        index = array_or_numbers(given)
    if index is None or not cnp.PyArray_ISINTEGER(index):
        return None
    cdef bint may_wrap = cnp.PyTypeNum_ISUNSIGNED(cnp.PyArray_TYPE(index)) and cnp.PyArray_ITEMSIZE(index) == 8
    index = as_plain(index, cnp.NPY_INT64, c.mode)
    if index is None:
        return None
    k[0] = 0
    if not has_row_shape(c, a, index):
        if cnp.PyArray_NDIM(index) != c.ndim or c.last - c.first != 1:
            return None
        for i in range(c.ndim):
            if i != c.first and cnp.PyArray_DIM(index, i) != cnp.PyArray_DIM(a, i):
                return None
    if cnp.PyArray_NDIM(index) == c.ndim:
        k[0] = cnp.PyArray_DIM(index, c.first)
    cdef const int64_t *first = <const int64_t *>cnp.PyArray_DATA(index)
    cdef Py_ssize_t size = cnp.PyArray_SIZE(index)
    for i in range(size if may_wrap else 0):
        if first[i] < 0:
            return None
    if size == 0 or sl_active().wrong_target(first, size, c.job.n, ignore if has_ignore else 0, counted) >= 0:
        return None  # without ignore_index 0 is a class as good as any
    if not has_ignore:
        counted[0] = size
    return index


# ---- results --------------------------------------------------------------------------------------------------------

cdef int row_dims(call *c, cnp.ndarray a, bint keepdims, Py_ssize_t k, cnp.npy_intp *dims) noexcept:
    """The shape of one result for each row, or, with keepdims, of k along the class axes; how many dimensions it has"""
    cdef int i, ndim = 0
    for i in range(c.ndim):
        if not c.first <= i < c.last:
            dims[ndim] = cnp.PyArray_DIM(a, i)
            ndim += 1
        elif keepdims:
            dims[ndim] = k if i == c.first else 1
            ndim += 1
    return ndim


cdef bint is_out(call *c, out, int type_num, int ndim, cnp.npy_intp *dims) noexcept:
    """Is it an array for results of that type and shape? Where nobody has checked it, it has to be plain as well."""
    cdef Py_ssize_t i
    if not cnp.PyArray_CheckExact(out):
        return False
    cdef cnp.ndarray y = <cnp.ndarray>out
    if cnp.PyArray_TYPE(y) != type_num or cnp.PyArray_NDIM(y) != ndim:
        return False
    if c.mode == _AS_GIVEN and not cnp.PyArray_ISCARRAY(y):
        return False
    for i in range(ndim):
        if cnp.PyArray_DIM(y, i) != dims[i]:
            return False
    return c.mode == _COPY or cnp.PyArray_SIZE(y) <= _MOST_COPIED or cnp.PyArray_ISCARRAY(y)


cdef inline bint is_chunked(const call *c, cnp.ndarray a) noexcept:
    """Are results like a so many that those of float64 are made float32 chunk by chunk?"""
    return c.y_type != c.result_type and c.mode != _COPY and cnp.PyArray_SIZE(a) > _MOST_COPIED


cdef inline bint has_result(call *c) noexcept:
    """Can results get the type that the caller wants? float64 as a 16-bit float is left to NumPy."""
    return c.y_type == c.result_type or c.result_type == cnp.NPY_FLOAT


cdef bint are_outs(call *c, index, int index_type, out, int ndim, cnp.npy_intp *dims) noexcept:
    """Do index and out, where they are given, have the type and shape of the results?"""
    return (index is None or is_out(c, index, index_type, ndim, dims)) and (
        out is None or is_out(c, out, c.result_type, ndim, dims))


cdef inline bint is_writable_by_kernels(out) noexcept:
    return out is not None and cnp.PyArray_ISCARRAY(<cnp.ndarray>out)


cdef cnp.ndarray memory_of(out, int type_num, int ndim, cnp.npy_intp *dims):
    """What the kernels write to: out where they can, else a new array."""
    if is_writable_by_kernels(out) and cnp.PyArray_TYPE(<cnp.ndarray>out) == type_num:
        return <cnp.ndarray>out
    return <cnp.ndarray>cnp.PyArray_EMPTY(ndim, dims, type_num, 0)


cdef cnp.ndarray memory_for(call *c, cnp.ndarray a, out):
    """What the kernels write results like x to: out, else a copy of x that nobody else has, else a new array."""
    if c.owns_x and cnp.PyArray_TYPE(a) == c.y_type and not is_writable_by_kernels(out):
        return a
    return memory_of(out, c.y_type, c.ndim, cnp.PyArray_DIMS(a))


cdef bint is_apart(cnp.ndarray y, b) noexcept:
    """Do two plain arrays, or one and None, share no memory?"""
    if b is None or not cnp.PyArray_CheckExact(b):
        return True
    return apart(<const char *>cnp.PyArray_DATA(y), <const char *>cnp.PyArray_DATA(<cnp.ndarray>b),
                 cnp.PyArray_NBYTES(y), cnp.PyArray_NBYTES(<cnp.ndarray>b))


cdef inline bint is_apart_or_same(cnp.ndarray y, b) noexcept:
    """Do they share no memory, or are they the same elements of one type?"""
    if b is not None and cnp.PyArray_DATA(y) == cnp.PyArray_DATA(<cnp.ndarray>b):
        return cnp.PyArray_TYPE(y) == cnp.PyArray_TYPE(<cnp.ndarray>b) and cnp.PyArray_SAMESHAPE(y, <cnp.ndarray>b)
    return is_apart(y, b)


cdef cnp.ndarray as_result(call *c, cnp.ndarray y):
    """What the kernels wrote, in the type that the caller wants."""
    return y if c.y_type == c.result_type else narrowed(y)


cdef give(cnp.ndarray y, out):
    """y as the caller gets it: in out, or as a scalar where it has no dimension."""
    if out is None:
        return y if cnp.PyArray_NDIM(y) else y[()]
    if <PyObject *>y != <PyObject *>out:
        cnp.PyArray_CopyInto(<cnp.ndarray>out, y)
    return out


# ---- rows -----------------------------------------------------------------------------------------------------------

def rows(int op, x, axis, dtype, out, bint keepdims=False, where=None, temperature=None, other=None,
         int mode=_AS_GIVEN, /):
    """Operations whose result is like x or one number for each row; None where an argument is not plain.

    other: of `expectation` its values; of vector-Jacobian products the output, and of `kl_divergence` y, like x.
    """
    cdef call c
    cdef cnp.npy_intp dims[64]
    cdef bint is_like_x = op not in (SL_LOGSUMEXP, SL_EXPECTATION, SL_ENTROPY, SL_KL_DIVERGENCE)
    cdef bint is_vjp = op in (SL_SOFTMAX_VJP, SL_LOG_SOFTMAX_VJP)
    cdef bint is_per_row = not is_like_x and op != SL_LOGSUMEXP
    cdef bint needs_other = is_vjp or op in (SL_EXPECTATION, SL_KL_DIVERGENCE)
    cdef cnp.ndarray a = take_x(&c, op, x, axis, dtype, is_per_row, mode), mask, y, second = None
    cdef const void *args
    cdef int ndim
    if a is None or not has_result(&c) or needs_other and other is None:
        return None
    if (is_vjp or op == SL_EXPECTATION) and not is_one_axis(axis, mode):
        return None
    if needs_other and op != SL_EXPECTATION:
        a = in_one_type(&c, a, other)
        if a is None:
            return None
    mask = take_mask(&c, a, where)
    if mask is None or not take_temperature(&c, a, temperature):
        return None
    if needs_other:
        if op == SL_EXPECTATION:
            second = take_per_class(&c, other)
        else:
            second = take_like_x(&c, a, other, cnp.PyArray_TYPE(a))
        if second is None or op == SL_EXPECTATION and not all_finite(second):
            return None
        args = cnp.PyArray_DATA(second)  # the only member of the arguments of these operations
        c.job.args = &args
    if is_like_x and is_chunked(&c, a):
        return None
    if is_like_x:
        ndim = c.ndim
        memcpy(dims, cnp.PyArray_DIMS(a), ndim * sizeof(cnp.npy_intp))
    else:
        ndim = row_dims(&c, a, keepdims, 1, dims)
    if out is not None and not is_out(&c, out, c.result_type, ndim, dims):
        return None
    y = memory_for(&c, a, out) if is_like_x else memory_of(out, c.y_type, ndim, dims)
    if mode == _AS_GIVEN and out is not None:
        if not (is_apart_or_same(y, a) if is_like_x else is_apart(y, a)):
            return None
        if where is not None and not is_apart(y, mask) or not is_apart(y, temperature):
            return None
        if not (is_apart_or_same(y, second) if is_vjp else is_apart(y, second)):
            return None
    c.job.y = cnp.PyArray_DATA(y)
    execute(&c.job)
    return give(as_result(&c, y), out)


cdef bint all_finite(cnp.ndarray a) noexcept:
    """Of float32 or float64"""
    cdef Py_ssize_t i
    cdef const float *narrow = <const float *>cnp.PyArray_DATA(a)
    cdef const double *wide = <const double *>cnp.PyArray_DATA(a)
    for i in range(cnp.PyArray_SIZE(a)):
        if not isfinite(wide[i] if cnp.PyArray_TYPE(a) == cnp.NPY_DOUBLE else narrow[i]):
            return False
    return True


# ---- parts of rows ------------------------------------------------------------------------------------------------

# What a summary keeps of a row (sl_weight, sl_moment), as dtypes of NumPy
WEIGHT = _numpy.dtype([("max", "f8"), ("top", "i8"), ("digit", "i8", (SL_WEIGHT_DIGITS,))])
MOMENT = _numpy.dtype([("top", "i8"), ("digit", "i8", (SL_MOMENT_DIGITS,))])
MASKED_CLASS = SL_MASKED_CLASS
NO_CLASS = SL_NO_CLASS


cdef sl_part_args part_args_of(statistics) noexcept:
    cdef sl_part_args args
    args.max, args.others = <double *>data(statistics[0]), <double *>data(statistics[1])
    args.others_low = <double *>data(statistics[2])
    args.deviation = <double *>data(statistics[3] if len(statistics) > 3 else None)
    return args


def part(int op, x, axis, out, where, temperature, statistics, int mode, /):
    """A part of the classes of rows, all of it checked; None where an argument is not plain.

    statistics: arrays of float64, one number for each row: max, others, others_low, and deviation if that is wanted
    (sl_part_args). SL_PART_STATISTICS writes them, the other operations write to out.
    """
    cdef call c
    cdef sl_part_args args
    cdef cnp.npy_intp dims[64]
    cdef bint writes_statistics = op in (SL_PART_STATISTICS, SL_PART_STATISTICS_WITH_DEVIATION)
    cdef cnp.ndarray a = take_x(&c, op, x, axis, None if out is None else out.dtype, writes_statistics, mode), mask, y
    if a is None or not has_result(&c):
        return None
    mask = take_mask(&c, a, where)
    if mask is None or not take_temperature(&c, a, temperature):
        return None
    cdef int ndim = row_dims(&c, a, True, 1, dims)
    if writes_statistics:
        plain = [memory_of(s, cnp.NPY_DOUBLE, ndim, dims) for s in statistics]
    else:
        if is_chunked(&c, a) or not is_out(&c, out, c.result_type, c.ndim, cnp.PyArray_DIMS(a)):
            return None
        plain = [as_plain(s, cnp.NPY_DOUBLE, _COPY) for s in statistics]
        y = memory_for(&c, a, out)
        c.job.y = cnp.PyArray_DATA(y)
    args = part_args_of(plain)
    c.job.args = &args
    execute(&c.job)
    if writes_statistics:
        return [give(s, to) for s, to in zip(plain, statistics)]
    return give(as_result(&c, y), out)


# Arrays of these calls are C-contiguous, with an entry for each row: weights, moments (or None), and temperatures (or
# one of no dimension, or None).

cdef sl_summary summary_of(weight, moment, temperature) noexcept:
    cdef sl_summary s
    s.weight, s.moment = <sl_weight *>data(weight), <sl_moment *>data(moment)
    s.temperature = <const double *>data(temperature)
    s.temperature_step = temperature is not None and cnp.PyArray_NDIM(<cnp.ndarray>temperature) > 0
    return s


cdef sl_best best_of(best) noexcept:
    """Values and keys, or None"""
    cdef sl_best b
    value, key = best or (None, None)
    b.value, b.key = <double *>data(value), <int64_t *>data(key)
    return b


cdef int run_summaries(sl_summary_job *job, weight) except -1:
    cdef int count = 1
    job.rows = cnp.PyArray_SIZE(<cnp.ndarray>weight)
    if job.rows * SUMMARY_COST >= RELEASE_FROM:
        count = threads_for(job.rows * SUMMARY_COST)
        with nogil:
            sl_run_summaries(job, count)
    else:
        sl_run_summaries(job, 1)
    return 0


def begin_summaries(statistics, weight, moment, temperature, /):
    """From the statistics of a part (`part`), in float64, into weight and moment"""
    cdef sl_summary_job job
    job.step = SL_BEGIN
    job.statistics = part_args_of(statistics)
    job.y = summary_of(weight, moment, temperature)
    run_summaries(&job, weight)


def merge_summaries(a, b, y, a_best, b_best, y_best, temperature, /):
    """From pairs of weights and moments a and b into y, and from k best classes of each into those of y"""
    cdef sl_summary_job job
    job.step = SL_MERGE
    job.a = summary_of(a[0], a[1], temperature)
    job.b = summary_of(b[0], b[1], temperature)
    job.y = summary_of(y[0], y[1], temperature)
    job.a_best, job.b_best, job.y_best = best_of(a_best), best_of(b_best), best_of(y_best)
    job.k = 0 if y_best is None else cnp.PyArray_SIZE(y_best[0]) // max(cnp.PyArray_SIZE(y[0]), 1)
    run_summaries(&job, y[0])


def finish_summaries(weight, moment, temperature, results, /):
    """Writes max, others, others_low of sl_part_args, log_sum, logsumexp, and the entropy if there are six results."""
    cdef sl_summary_job job
    job.step = SL_FINISH
    job.statistics = part_args_of(results[:3])
    job.a = summary_of(weight, moment, temperature)
    job.log_sum, job.logsumexp = <double *>data(results[3]), <double *>data(results[4])
    job.entropy = <double *>data(results[5] if len(results) > 5 else None)
    run_summaries(&job, weight)


# ---- classes --------------------------------------------------------------------------------------------------------

cdef void gather_logits(const call *c, cnp.ndarray index, cnp.ndarray y) noexcept:
    """y becomes x at the classes of index: -inf where hidden, NaN in a row whose first class, so a visible one, is"""
    cdef const sl_select_args *args = <const sl_select_args *>c.job.args
    cdef const int64_t *classes = <const int64_t *>cnp.PyArray_DATA(index)
    cdef Py_ssize_t i, place, each = args.k * c.job.inner
    cdef double value, first = 0
    for i in range(cnp.PyArray_SIZE(index)):
        place = (i // each * c.job.n + classes[i]) * c.job.inner + i % c.job.inner
        value = (<const double *>c.job.x)[place] if c.is_wide else (<const float *>c.job.x)[place]
        if c.job.mask != NULL and not c.job.mask[place]:
            value = -INFINITY
        elif i % args.k and first != first:  # k == 1 if inner > 1
            value = first
        if i % args.k == 0:
            first = value
        if value != value:
            value = NAN
        if c.is_wide:
            (<double *>cnp.PyArray_DATA(y))[i] = value
        else:
            (<float *>cnp.PyArray_DATA(y))[i] = <float>value


def topk(int op, x, axis, k, dtype=None, index_dtype=None, bint has_axis=True, bint in_order=True, where=None,
         temperature=None, int mode=_AS_GIVEN, index_out=None, out=None, bint with_logits=False, /):
    """(indices, values) of the first k classes of each row, values None for SL_TOPK; None where one is not plain.

    has_axis: results have an axis of length k in the place of the class axis. with_logits: with SL_TOPK, values are x.
    """
    cdef call c
    cdef sl_select_args args
    cdef cnp.npy_intp dims[64]
    cdef cnp.dtype integers = as_dtype(index_dtype)
    cdef cnp.ndarray a = take_x(&c, op, x, axis, dtype, False, mode), mask, index, y = None
    cdef int ndim, index_type, overflow = 0
    if a is None or not has_result(&c) or c.job.n >= TOO_MANY_CLASSES and not c.is_wide or not PyLong_CheckExact(k):
        return None
    index_type = index_type_of(integers, c.job.n - 1, False)
    if axis is not None and not is_one_axis(axis, mode):
        return None
    args.k = PyLong_AsLongAndOverflow(k, &overflow)
    if args.k < 1 or args.k > c.job.n or args.k != 1 and c.job.inner != 1 or index_type < 0:
        return None
    mask = take_mask(&c, a, where)
    if mask is None or not take_temperature(&c, a, temperature):
        return None
    ndim = row_dims(&c, a, has_axis, args.k, dims)
    if not are_outs(&c, index_out, index_type, out, ndim, dims):
        return None
    index = memory_of(index_out, index_type, ndim, dims)
    if with_logits and (c.x_type != c.result_type or c.x_type != c.y_type or index_type != cnp.NPY_INT64
                        or c.x_type not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE)):
        return None
    if with_logits or op % NEGATE != SL_TOPK:
        y = memory_of(out, c.y_type, ndim, dims)
    args.index = indices(index)
    args.rank = indices(None)
    args.sorted = in_order
    c.job.y = NULL if with_logits else data(y)
    c.job.args = &args
    execute(&c.job)
    if with_logits:
        gather_logits(&c, index, y)
    return give(index, index_out), None if y is None else give(as_result(&c, y), out)


def take(int op, x, axis, given, dtype=None, index_dtype=None, ignore=None, where=None, temperature=None,
         int mode=_AS_GIVEN, out=None, /):
    """Values, or ranks, of given classes of each row, 0 or -1 for those to ignore; None where one is not plain."""
    cdef call c
    cdef sl_select_args args
    cdef cnp.npy_intp dims[64]
    cdef cnp.dtype integers = as_dtype(index_dtype)
    cdef cnp.ndarray a = take_x(&c, op, x, axis, dtype, True, mode), mask, index, y
    cdef int64_t ignored = 0
    cdef int ndim, y_type, overflow = 0
    cdef Py_ssize_t counted
    cdef bint is_rank = op == SL_RANK
    if a is None or not has_result(&c) or c.job.n >= TOO_MANY_CLASSES and not c.is_wide or not is_one_axis(axis, mode):
        return None
    if ignore is not None:
        if not PyLong_CheckExact(ignore):
            return None
        ignored = PyLong_AsLongLongAndOverflow(ignore, &overflow)
    index = take_classes(&c, a, given, ignored, ignore is not None, &args.k, &counted)
    mask = take_mask(&c, a, where)
    if index is None or mask is None or overflow or not take_temperature(&c, a, temperature):
        return None
    ndim = row_dims(&c, a, args.k > 0, args.k, dims)
    if args.k == 0:
        args.k = 1
    if args.k > 1 and c.job.inner != 1:
        return None
    y_type = index_type_of(integers, c.job.n - 1, ignore is not None) if is_rank else c.y_type
    if y_type < 0:
        return None
    if out is not None and not is_out(&c, out, y_type if is_rank else c.result_type, ndim, dims):
        return None
    y = memory_of(out, y_type, ndim, dims)
    args.index = indices(index)
    args.rank = indices(y if is_rank else None)
    args.sorted = True
    c.job.y = NULL if is_rank else cnp.PyArray_DATA(y)
    if is_rank:
        c.job.temperature = NULL  # changes no order
    c.job.args = &args
    if counted == cnp.PyArray_SIZE(index):
        execute(&c.job)
    else:
        run_without_ignored(&c, &args, index, y, ignored)
    return give(y if is_rank else as_result(&c, y), out)


cdef int run_without_ignored(call *c, sl_select_args *args, cnp.ndarray index, cnp.ndarray y,
                             int64_t ignored) except -1:
    """Class 0 takes the place of those to ignore; the result there is 0, or -1 for a rank."""
    cdef cnp.ndarray classes = copy_of(index, cnp.NPY_INT64)
    cdef Py_ssize_t i, each = cnp.PyArray_ITEMSIZE(y)
    cdef const int64_t *given = <const int64_t *>cnp.PyArray_DATA(index)
    args.index = indices(classes)
    for i in range(cnp.PyArray_SIZE(index)):
        if given[i] == ignored:
            (<int64_t *>args.index.at)[i] = 0
    execute(&c.job)
    for i in range(cnp.PyArray_SIZE(index)):
        if given[i] == ignored:
            memset(<char *>cnp.PyArray_DATA(y) + i * each, 255 if args.rank.at else 0, each)
    return 0


# ---- draws -----------------------------------------------------------------------------------------------------------

cdef bint take_part(call *c, cnp.ndarray a, numbers, bint above_zero, double *one, const double **at,
                    Py_ssize_t *step) noexcept:
    """As take_row_numbers, for numbers from 0 (or above 0) to 1"""
    cdef Py_ssize_t i
    if not take_row_numbers(c, a, numbers, one, at, step):
        return False
    for i in range(0 if at[0] == NULL else cnp.PyArray_SIZE(<cnp.ndarray>numbers) if step[0] else 1):
        if not (at[0][i] > 0 or at[0][i] == 0 and not above_zero) or at[0][i] > 1:
            return False
    return True


cdef bint take_counts(call *c, cnp.ndarray a, numbers, int64_t *one, const int64_t **at, Py_ssize_t *step) noexcept:
    """As take_row_numbers, for numbers above 0 of int64"""
    cdef int overflow = 0
    cdef Py_ssize_t i
    cdef cnp.ndarray b
    at[0] = one
    step[0] = 0
    if numbers is None:
        at[0] = NULL
        return True
    if PyLong_CheckExact(numbers):
        one[0] = PyLong_AsLongLongAndOverflow(numbers, &overflow)
        return one[0] > 0 and not overflow
    if not cnp.PyArray_CheckExact(numbers):
        return False
    b = <cnp.ndarray>numbers
    if cnp.PyArray_TYPE(b) != cnp.NPY_INT64 or not cnp.PyArray_ISCARRAY_RO(b):
        return False
    if cnp.PyArray_NDIM(b) and not has_row_shape(c, a, b):
        return False
    at[0] = <const int64_t *>cnp.PyArray_DATA(b)
    step[0] = cnp.PyArray_SIZE(b) > 1
    for i in range(cnp.PyArray_SIZE(b)):
        if at[0][i] <= 0:
            return False
    return True


cdef cnp.ndarray take_uniform(call *c, cnp.ndarray a, uniform, size):
    """Numbers in [0, 1): one for each row, or `size` along the class axis"""
    cdef cnp.npy_intp dims[64]
    cdef cnp.ndarray u
    cdef Py_ssize_t i
    cdef const double *first
    if PyFloat_Check(uniform):
        uniform = _numpy.array(uniform)
    if not cnp.PyArray_CheckExact(uniform) or not is_float64(uniform):
        return None
    u = <cnp.ndarray>uniform
    if size is None and not has_row_shape(c, a, u):
        return None
    if size is not None:
        if cnp.PyArray_NDIM(u) != row_dims(c, a, True, size, dims):
            return None
        for i in range(c.ndim):
            if cnp.PyArray_DIM(u, i) != dims[i]:
                return None
    first = <const double *>cnp.PyArray_DATA(u)
    for i in range(cnp.PyArray_SIZE(u)):
        if not (0 <= first[i] < 1):
            return None
    return u


def sample(x, axis, size, bint replace, top_k, top_p, min_p, rng, uniform, dtype=None, index_dtype=None,
           bint with_values=False, where=None, temperature=None, int mode=_AS_GIVEN, index_out=None, out=None, /):
    """(indices, log-probabilities or None) of classes drawn from each row; None where an argument is not plain.

    uniform is None where rng, a generator, is to draw the numbers.
    """
    cdef call c
    cdef sl_sample_args args
    cdef cnp.npy_intp dims[64]
    cdef cnp.dtype integers = as_dtype(index_dtype)
    cdef cnp.ndarray a = take_x(&c, SL_SAMPLE, x, axis, dtype, True, mode), mask, index, y = None, numbers
    cdef double p, q
    cdef int64_t k
    cdef int ndim, index_type, overflow = 0
    if a is None or not has_result(&c) or c.job.n >= TOO_MANY_CLASSES and not c.is_wide or not is_one_axis(axis, mode):
        return None
    args.draws = 1
    if size is not None:
        if not PyLong_CheckExact(size):
            return None
        args.draws = PyLong_AsLongAndOverflow(size, &overflow)
        if overflow or args.draws > PY_SSIZE_T_MAX // c.job.outer:
            return None
    args.without_replacement = not replace
    index_type = index_type_of(integers, c.job.n - 1, False)
    if args.draws < 1 or not replace and args.draws > c.job.n or c.job.inner != 1 or index_type < 0:
        return None
    mask = take_mask(&c, a, where)
    if mask is None or not take_temperature(&c, a, temperature):
        return None
    if (not take_counts(&c, a, top_k, &k, &args.top_k, &args.top_k_step)
            or not take_part(&c, a, top_p, True, &p, &args.top_p, &args.top_p_step)
            or not take_part(&c, a, min_p, False, &q, &args.min_p, &args.min_p_step)):
        return None
    ndim = row_dims(&c, a, size is not None, args.draws, dims)
    if not are_outs(&c, index_out, index_type, out, ndim, dims):
        return None
    if uniform is None:
        numbers = rng.random(c.job.outer * args.draws)  # nothing after this returns None, lest numbers are drawn twice
    else:
        numbers = take_uniform(&c, a, uniform, size)
        if numbers is None:
            return None
    index = memory_of(index_out, index_type, ndim, dims)
    if with_values:
        y = memory_of(out, c.y_type, ndim, dims)
    args.index = indices(index)
    args.uniform = <const double *>cnp.PyArray_DATA(numbers)
    c.job.y = data(y)
    c.job.args = &args
    execute(&c.job)
    return give(index, index_out), None if y is None else give(as_result(&c, y), out)


# ---- losses ---------------------------------------------------------------------------------------------------------

cdef enum reduction_of:
    _MEAN
    _SUM
    _NONE
    _NEITHER  # of these: wrong as given, and None in a chunk


cdef inline reduction_of take_reduction(reduction) noexcept:
    if reduction is None or type(reduction) is not str:
        return _NEITHER
    return _MEAN if reduction == "mean" else _SUM if reduction == "sum" else _NONE if reduction == "none" else _NEITHER


cdef scalar_of(double value, int type_num):
    """A NumPy scalar, rounded once; any NaN as the canonical one"""
    cdef cnp.ndarray a = <cnp.ndarray>cnp.PyArray_EMPTY(0, NULL, type_num, 0)
    if value != value:
        value = NAN
    if type_num == cnp.NPY_FLOAT:
        (<float *>cnp.PyArray_DATA(a))[0] = sl_narrow(value)
    else:
        (<double *>cnp.PyArray_DATA(a))[0] = value
    return a[()]


cdef double total_of(cnp.ndarray a) noexcept:
    cdef sl_environment before = sl_enter_default()
    cdef double total = sl_active().total(<const double *>cnp.PyArray_DATA(a), cnp.PyArray_SIZE(a))
    sl_leave_default(before)
    return total


cdef double weight_of_all(const int64_t *target, Py_ssize_t count, int64_t ignore, const double *weight,
                          const double *row_weight) noexcept:
    cdef sl_environment before = sl_enter_default()
    cdef double total = sl_active().total_weight(target, count, ignore, weight, row_weight)
    sl_leave_default(before)
    return total


cdef inline double ratio(double a, double b) noexcept:
    return sl_quotient(a, b) if b != 0 else NAN


cdef double mean_of(cnp.ndarray a, double divisor, cnp.ndarray scaled=None) except? -1:
    """NaN for no rows. A sum of finite numbers that overflows is taken of multiples of 2^64; scaled: sums of these."""
    cdef const double *x = <const double *>cnp.PyArray_DATA(a)
    cdef double *to
    cdef double total = total_of(a)
    cdef Py_ssize_t i
    if isinf(total) and scaled is not None:
        return ldexp(ratio(total_of(scaled), divisor), 64)
    if isinf(total):
        scaled = <cnp.ndarray>cnp.PyArray_EMPTY(cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.NPY_DOUBLE, 0)
        to = <double *>cnp.PyArray_DATA(scaled)
        for i in range(cnp.PyArray_SIZE(a)):
            to[i] = ldexp(x[i], -64)
        return ldexp(ratio(total_of(scaled), divisor), 64)
    return ratio(total, divisor)


cdef cnp.ndarray take_sample_weight(call *c, cnp.ndarray a, weights, bint is_relative):
    """float64, for each row. is_relative: divided by the largest, lest their sum overflows"""
    cdef cnp.ndarray w = array_or_numbers(weights), own
    cdef const double *given
    cdef double *to
    cdef double most = 0
    cdef Py_ssize_t i
    if w is None or not has_row_shape(c, a, w) or c.mode == _AS_GIVEN and cnp.PyArray_NDIM(w) == c.ndim:
        return None
    w = as_plain(w, cnp.NPY_DOUBLE, c.mode)
    if w is None or c.mode != _AS_GIVEN:
        return w
    given = <const double *>cnp.PyArray_DATA(w)
    own = <cnp.ndarray>cnp.PyArray_EMPTY(cnp.PyArray_NDIM(w), cnp.PyArray_DIMS(w), cnp.NPY_DOUBLE, 0)
    to = <double *>cnp.PyArray_DATA(own)
    cdef sl_environment before = sl_enter_default()
    for i in range(cnp.PyArray_SIZE(w)):
        if not (given[i] >= 0 and isfinite(given[i])):
            sl_leave_default(before)
            return None
        most = max(most, given[i])
    for i in range(cnp.PyArray_SIZE(w)):
        to[i] = given[i] / most if is_relative and most > 0 else given[i]
    sl_leave_default(before)
    return own


cdef cnp.ndarray take_gradient(call *c, cnp.ndarray a, out):
    """Memory for a gradient, which has the type of results of x; None where that takes a conversion by NumPy"""
    cdef int type_num = c.native_type
    cdef cnp.npy_intp *dims = cnp.PyArray_DIMS(a)
    if c.mode != _AS_GIVEN and c.is_wide:
        type_num = cnp.PyArray_TYPE(<cnp.ndarray>out)
    if c.is_wide and type_num not in (cnp.NPY_DOUBLE, cnp.NPY_FLOAT):
        return None
    if out is not None:
        if not is_out(c, out, type_num, c.ndim, dims):
            return None
    c.job.y_dtype = <sl_dtype>storage_of(cnp.NPY_DOUBLE if c.is_wide else type_num, c.is_wide)
    if not is_writable_by_kernels(out) and c.owns_x and cnp.PyArray_TYPE(a) == type_num:
        return a
    return memory_of(out, cnp.NPY_DOUBLE if c.is_wide else type_num, c.ndim, dims)


cdef give_gradient(call *c, cnp.ndarray y, out):
    cdef int type_num = c.native_type if out is None else cnp.PyArray_TYPE(<cnp.ndarray>out)
    return give(narrowed(y) if c.is_wide and type_num == cnp.NPY_FLOAT else y, out)


cdef bint is_mass(cnp.ndarray a, target) noexcept:
    """Is it a number for each class, rather than a class? Integers may be either."""
    return cnp.PyArray_SAMESHAPE(a, <cnp.ndarray>target) and not cnp.PyArray_ISINTEGER(<cnp.ndarray>target)


cdef cnp.ndarray take_mass(call *c, cnp.ndarray a, mass, sl_loss_args *args):
    """Like x: of a type that the kernels read, or of the compute type"""
    cdef int type_num = cnp.PyArray_TYPE(<cnp.ndarray>mass)
    cdef cnp.ndarray m
    if storage_of(type_num, c.is_wide) < 0:
        type_num = cnp.NPY_DOUBLE if c.is_wide else cnp.NPY_FLOAT
    m = take_like_x(c, a, mass, type_num)
    args.mass = data(m)
    args.mass_dtype = <sl_dtype>storage_of(type_num, c.is_wide)
    return m


def loss(int op, x, target, axis, weight, ignore, smoothing, reduction, sample_weight, dtype, where=None,
         temperature=None, bint with_grad=False, grad_out=None, int mode=_AS_GIVEN, mass=None, double scale=1,
         double slack=0, losses=None, /):
    """The loss, or (loss, gradient), of CROSS_ENTROPY, NLL or LOG_LOSS; None where an argument is not plain.

    With losses, an array of float64, it is for a chunk: losses of the rows go there, gradients are multiplied by scale,
    and the result says whether x is outside its domain by more than slack. A mass for each class is then in `mass`.
    """
    cdef call c
    cdef sl_loss_args args
    cdef cnp.npy_intp dims[64]
    cdef cnp.npy_intp row_count
    cdef Py_ssize_t k, counted
    cdef int ndim, overflow = 0
    cdef double divisor
    cdef reduction_of how = take_reduction(reduction)
    cdef cnp.ndarray a = take_x(&c, op, x, axis, dtype, True, mode), mask, t = None, w = None, wide_w = None
    cdef cnp.ndarray rows_w = None, visible = None, outside = None, grad = None, y
    if a is None or losses is None and how == _NEITHER or not is_one_axis(axis, mode):
        return None
    if losses is None and c.result_type not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):
        return None
    mask = take_mask(&c, a, where)
    if mask is None or not take_temperature(&c, a, temperature):
        return None
    if not PyLong_CheckExact(ignore):
        return None
    args.ignore_index = PyLong_AsLongLongAndOverflow(ignore, &overflow)
    if overflow or cnp.PyArray_CheckExact(smoothing) or not take_number(smoothing, &args.label_smoothing):
        return None
    if not 0 <= args.label_smoothing <= 1:
        return None
    if weight is not None:
        w = take_per_class(&c, weight)
        if w is None:
            return None
    if sample_weight is not None:
        rows_w = take_sample_weight(&c, a, sample_weight, how == _MEAN)
        if rows_w is None:
            return None
    row_count = c.job.outer * c.job.inner
    args.target = NULL
    args.mass = NULL
    args.mass_dtype = SL_FLOAT32
    if mass is None and mode == _AS_GIVEN and cnp.PyArray_CheckExact(target) and is_mass(a, target):
        mass = target
    if mass is not None:
        t = take_mass(&c, a, mass, &args)
        if t is None or args.ignore_index >= 0:
            return None
        divisor = <double>row_count if rows_w is None else total_of(rows_w)
    else:
        t = take_classes(&c, a, target, args.ignore_index, True, &k, &counted)
        if t is None or mode == _AS_GIVEN and cnp.PyArray_NDIM(t) == c.ndim:
            return None
        args.target = <const int64_t *>cnp.PyArray_DATA(t)
        divisor = <double>counted
        if losses is None and (w is not None or rows_w is not None):
            if w is not None:
                wide_w = as_plain(w, cnp.NPY_DOUBLE, _COPY)
            divisor = weight_of_all(args.target, row_count, args.ignore_index, <const double *>data(wide_w),
                                    <const double *>data(rows_w))
            if how == _MEAN and not 1e-290 < fabs(divisor) < 1e290:
                return None  # the Python files scale weights, so that neither this nor its inverse overflows
    args.class_weight = data(w)
    args.row_weight = <const double *>data(rows_w)
    args.visible = NULL
    if where is not None and args.label_smoothing != 0:
        visible = <cnp.ndarray>cnp.PyArray_EMPTY(1, &row_count, cnp.NPY_INT64, 0)
        sl_active().count_visible(&c.job, <int64_t *>cnp.PyArray_DATA(visible))
        args.visible = <const int64_t *>cnp.PyArray_DATA(visible)
    args.slack = slack
    args.outside = NULL
    if op != SL_CROSS_ENTROPY:
        outside = <cnp.ndarray>cnp.PyArray_ZEROS(1, &row_count, cnp.NPY_BOOL, 0)
        args.outside = <unsigned char *>cnp.PyArray_DATA(outside)
    args.scale = scale
    if losses is None:
        args.scale = ratio(1, divisor) if how == _MEAN else 1
    c.job.y = NULL
    if with_grad:
        c.job.op = SL_CROSS_ENTROPY_GRAD
        grad = take_gradient(&c, a, grad_out)
        if grad is None:
            return None
        if mode == _AS_GIVEN and grad_out is not None:
            if not is_apart_or_same(grad, a):
                return None
            for b in (t, mask if where is not None else None, temperature, w, rows_w):
                if not is_apart(grad, b):
                    return None
        c.job.y = cnp.PyArray_DATA(grad)
    ndim = row_dims(&c, a, losses is not None, 1, dims)
    y = memory_of(losses, cnp.NPY_DOUBLE, ndim, dims)
    args.loss = <double *>cnp.PyArray_DATA(y)
    c.job.args = &args
    execute(&c.job, 1 if op != SL_CROSS_ENTROPY and args.target != NULL else 0)
    is_outside = args.outside != NULL and memchr(args.outside, 1, row_count) != NULL
    if losses is not None:
        if with_grad:
            give_gradient(&c, grad, grad_out)
        give(y, losses)
        return is_outside
    if is_outside:
        return None  # it is named by the Python files
    if how == _NONE:
        found = give(narrowed(y) if c.result_type == cnp.NPY_FLOAT else y, None)
    else:
        found = scalar_of(total_of(y) if how == _SUM else mean_of(y, divisor), c.result_type)
    return (found, give_gradient(&c, grad, grad_out)) if with_grad else found


# ---- elements -------------------------------------------------------------------------------------------------------

cdef cnp.ndarray take_elements_temperature(call *c, cnp.ndarray a, temperature, double *one,
                                           sl_elementwise_job *job):
    """One number, or one for each element; a itself for None"""
    cdef cnp.ndarray t
    cdef Py_ssize_t i
    job.temperature = NULL
    job.temperature_step = 0
    if temperature is None:
        return a
    if take_number(temperature, one):
        if one[0] != 1:
            job.temperature = one
        return a if one[0] > 0 and isfinite(one[0]) else None
    t = take_like_x(c, a, temperature, cnp.NPY_DOUBLE)
    if t is None:
        return None
    job.temperature = <const double *>cnp.PyArray_DATA(t)
    job.temperature_step = 1
    for i in range(cnp.PyArray_SIZE(t)):
        if not (job.temperature[i] > 0 and isfinite(job.temperature[i])):
            return None
    return t


cdef void prepare_elements(sl_elementwise_job *job, const call *c, int op) noexcept:
    """A job without arguments beside x"""
    job.op = <sl_op>op
    job.x_dtype = c.job.x_dtype
    job.y_dtype = c.job.y_dtype
    job.x = c.job.x
    job.n = c.job.n
    job.target = job.weight = job.pos_weight = job.output = NULL
    job.y = job.loss = NULL
    job.sums = job.scaled_sums = NULL
    job.outside = NULL
    job.scale = 1


cdef int execute_elements(const sl_elementwise_job *job) except -1:
    cdef int count
    if job.n < RELEASE_FROM:
        sl_run_elementwise(job, 1)
    else:
        count = threads_for(job.n)
        with nogil:
            sl_run_elementwise(job, count)
    return 0


def elements(int op, x, dtype, out, temperature=None, other=None, int mode=_AS_GIVEN, /):
    """Operations on each element by itself; None where an argument is not plain. other: of SIGMOID_VJP the output"""
    cdef call c
    cdef sl_elementwise_job job
    cdef double one
    cdef cnp.ndarray a = take_x(&c, op, x, None, dtype, False, mode), t, second = None, y
    if a is None or not has_result(&c) or op == SL_SIGMOID_VJP and other is None:
        return None
    prepare_elements(&job, &c, op)
    t = take_elements_temperature(&c, a, temperature, &one, &job)
    if t is None:
        return None
    if other is not None:
        a = in_one_type(&c, a, other)
        second = None if a is None else take_like_x(&c, a, other, cnp.PyArray_TYPE(a))
        if second is None:
            return None
        job.x, job.x_dtype = c.job.x, c.job.x_dtype
        job.output = data(second)
    if is_chunked(&c, a) or out is not None and not is_out(&c, out, c.result_type, c.ndim, cnp.PyArray_DIMS(a)):
        return None
    y = memory_for(&c, a, out)
    if mode == _AS_GIVEN and out is not None:
        if not is_apart_or_same(y, a) or not is_apart_or_same(y, second) or not is_apart(y, temperature):
            return None
    job.y = data(y)
    execute_elements(&job)
    return give(as_result(&c, y), out)


cdef cnp.ndarray take_like_elements(call *c, cnp.ndarray a, b):
    """A number for each element, of the compute type"""
    cdef cnp.ndarray array = array_or_numbers(b)
    return None if array is None else take_like_x(c, a, array, cnp.NPY_DOUBLE if c.is_wide else cnp.NPY_FLOAT)


def binary(int op, x, target, weight, pos_weight, reduction, dtype, temperature=None, bint with_grad=False,
           grad_out=None, int mode=_AS_GIVEN, double scale=1, losses=None, /):
    """The binary loss, or (loss, gradient); None where an argument is not plain.

    In a chunk, whose reduction is None, gradients are multiplied by scale, losses go to `losses` if there are any, and
    the result is (sums of losses, in float64 also of losses times 2^-64, are there probabilities outside [0, 1]?).
    """
    cdef call c
    cdef sl_elementwise_job job
    cdef double one
    cdef reduction_of how = take_reduction(reduction)
    cdef cnp.npy_intp blocks, pairs
    cdef cnp.ndarray a = take_x(&c, op, x, None, dtype, True, mode), t, w = None, pos_w = None, grad = None
    cdef cnp.ndarray loss = None, sums = None, scaled = None, outside = None, temperatures
    cdef bint is_logits = op == SL_BINARY_CROSS_ENTROPY
    if a is None or mode == _AS_GIVEN and how == _NEITHER:
        return None
    if c.result_type not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):
        return None
    prepare_elements(&job, &c, op)
    temperatures = take_elements_temperature(&c, a, temperature, &one, &job)
    t = take_like_elements(&c, a, target)
    if temperatures is None or t is None:
        return None
    if weight is not None:
        w = take_like_elements(&c, a, weight)
        if w is None:
            return None
    if pos_weight is not None:
        pos_w = take_like_elements(&c, a, pos_weight)
        if pos_w is None:
            return None
    job.target, job.weight, job.pos_weight = data(t), data(w), data(pos_w)
    job.scale = ratio(1, job.n) if how == _MEAN else scale
    if with_grad:
        job.op = SL_BINARY_CROSS_ENTROPY_GRAD if is_logits else SL_BINARY_CROSS_ENTROPY_OF_PROBS_GRAD
        if mode == _AS_GIVEN and grad_out is not None and not is_logits:
            return None  # grad_out has to stay unchanged if a probability is invalid
        grad = take_gradient(&c, a, grad_out)
        if grad is None:
            return None
        if mode == _AS_GIVEN and grad_out is not None:
            if not is_apart_or_same(grad, a):
                return None
            for b in (t, w, pos_w, temperature):
                if not is_apart(grad, b):
                    return None
        job.y_dtype = c.job.y_dtype
        job.y = data(grad)
    blocks = (job.n + SL_BLOCK - 1) // SL_BLOCK
    pairs = 2 * blocks
    if how == _NONE or losses is not None:
        loss = memory_of(losses, cnp.NPY_DOUBLE if c.is_wide else cnp.NPY_FLOAT, c.ndim, cnp.PyArray_DIMS(a))
        job.loss = data(loss)
    else:
        sums = <cnp.ndarray>cnp.PyArray_EMPTY(1, &pairs, cnp.NPY_DOUBLE, 0)
        job.sums = <double *>data(sums)
        if c.is_wide:
            scaled = <cnp.ndarray>cnp.PyArray_EMPTY(1, &blocks, cnp.NPY_DOUBLE, 0)
            job.scaled_sums = <double *>data(scaled)
    if not is_logits:
        outside = <cnp.ndarray>cnp.PyArray_ZEROS(1, &blocks, cnp.NPY_BOOL, 0)
        job.outside = <unsigned char *>data(outside)
    execute_elements(&job)
    is_outside = job.outside != NULL and memchr(job.outside, 1, blocks) != NULL
    if mode != _AS_GIVEN:
        if with_grad:
            give_gradient(&c, grad, grad_out)
        if losses is not None:
            give(as_result(&c, loss), losses)
        return sums, scaled, is_outside
    if is_outside:
        return None  # they are named by the Python files
    if how == _NONE:
        found = give(as_result(&c, loss), None)
    else:
        found = scalar_of(total_of(sums) if how == _SUM else mean_of(sums, job.n, scaled), c.result_type)
    return (found, give_gradient(&c, grad, grad_out)) if with_grad else found


# ---- what a loss needs of all rows ----------------------------------------------------------------------------------

def wrong_target(cnp.ndarray target, Py_ssize_t n, int64_t ignore, /):
    """The first index of an int64 array that is neither a class nor ignored, or -1; and how many are not ignored."""
    cdef Py_ssize_t counted
    cdef const int64_t *first = <const int64_t *>cnp.PyArray_DATA(target)
    cdef Py_ssize_t wrong = sl_active().wrong_target(first, cnp.PyArray_SIZE(target), n, ignore, &counted)
    return wrong, counted


def total_weight(cnp.ndarray target, int64_t ignore, weight, row_weight, /):
    """The sum of the (float64) weights of all targets that are not ignored: of their classes and rows, or None."""
    cdef const int64_t *first = <const int64_t *>cnp.PyArray_DATA(target)
    return weight_of_all(first, cnp.PyArray_SIZE(target), ignore, <const double *>data(weight),
                         <const double *>data(row_weight))


def total(cnp.ndarray x, /):
    """The sum of a float64 array, as if in twice the precision."""
    return total_of(x)


def mean(cnp.ndarray x, double divisor, cnp.ndarray scaled=None, /):
    """That sum over a number, also where the sum itself overflows. scaled: what adds up to 2^-64 times the sum."""
    return mean_of(x, divisor, scaled)


# ---- the installation -----------------------------------------------------------------------------------------------


def get_threads():
    """Of the process."""
    return threads_of_process()


def set_threads(int n, bint by_user=True, /):
    global threads, is_set
    threads = n
    is_set = by_user


def thread_engine():
    """"pool", "openmp" or "none": chosen when this was built."""
    return sl_thread_engine().decode()


def available_isas():
    """The instruction set paths that this build and this processor have, best first."""
    return [sl_isa_name(i).decode() for i in range(sl_isa_count())]


def active_isa():
    return sl_active().name.decode()


def use_isa(str name, /):
    """Switch to another path; False where it is not available. For tests: other threads must not be computing."""
    return sl_use_isa(name.encode()) == 0
