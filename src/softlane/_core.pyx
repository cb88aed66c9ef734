# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True
"""Translate: NumPy objects to pointers and lengths. Releases the GIL; decides nothing, raises nothing but MemoryError.

Policy (dtypes, axes, overlap, errors) is in the Python files, algorithms are in csrc/.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t
from cpython cimport contextvars
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_AsLongAndOverflow, PyLong_CheckExact

cnp.import_array()

cdef extern from "softlane.h" nogil:
    ctypedef enum sl_op:
        SL_SOFTMAX
        SL_LOG_SOFTMAX
        SL_LOGSUMEXP
        SL_EXPECTATION
        SL_CROSS_ENTROPY
        SL_CROSS_ENTROPY_GRAD
        SL_TAKE_PROBS
        SL_TAKE_LOG_PROBS
        SL_TOPK
        SL_TOPK_PROBS
        SL_TOPK_LOG_PROBS
        SL_RANK
        SL_SAMPLE
        SL_SOFTMAX_VJP
        SL_LOG_SOFTMAX_VJP
        SL_SIGMOID
        SL_LOG_SIGMOID
        SL_BINARY_CROSS_ENTROPY
        SL_BINARY_CROSS_ENTROPY_GRAD
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
    ctypedef struct sl_expectation_args:
        const void *values
    ctypedef struct sl_loss_args:
        const int64_t *target
        int64_t ignore_index
        const void *mass
        sl_dtype mass_dtype
        const void *class_weight
        double label_smoothing, scale
        double *loss
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
    ctypedef struct sl_vjp_args:
        const void *output
    ctypedef struct sl_elementwise_job:
        sl_op op
        sl_dtype x_dtype, y_dtype
        const void *x
        const void *target
        const void *weight
        const void *pos_weight
        void *y
        void *loss
        double *sums
        double scale
        Py_ssize_t n
    ctypedef struct sl_isa:
        const char *name
        Py_ssize_t (*wrong_target)(const int64_t *target, Py_ssize_t count, Py_ssize_t n, int64_t ignore_index,
                                   Py_ssize_t *counted)
        double (*total_weight)(const int64_t *target, Py_ssize_t count, int64_t ignore_index, const double *weight)
        double (*total)(const double *x, Py_ssize_t count)
    int sl_run(const sl_job *job, int threads)
    void sl_run_elementwise(const sl_elementwise_job *job, int threads)
    int sl_may_share(Py_ssize_t elements)
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
TAKE_PROBS = <int>SL_TAKE_PROBS
TAKE_LOG_PROBS = <int>SL_TAKE_LOG_PROBS
TOPK = <int>SL_TOPK
TOPK_PROBS = <int>SL_TOPK_PROBS
TOPK_LOG_PROBS = <int>SL_TOPK_LOG_PROBS
TOPK_OF_NEGATED = <int>SL_TOPK + NEGATE
RANK = <int>SL_RANK
SOFTMAX_VJP = <int>SL_SOFTMAX_VJP
LOG_SOFTMAX_VJP = <int>SL_LOG_SOFTMAX_VJP
SIGMOID = <int>SL_SIGMOID
LOG_SIGMOID = <int>SL_LOG_SIGMOID
BINARY_CROSS_ENTROPY = <int>SL_BINARY_CROSS_ENTROPY
BINARY_CROSS_ENTROPY_GRAD = <int>SL_BINARY_CROSS_ENTROPY_GRAD

FLOAT32 = <int>SL_FLOAT32
FLOAT64 = <int>SL_FLOAT64
FLOAT16 = <int>SL_FLOAT16
BFLOAT16 = <int>SL_BFLOAT16
INT8 = <int>SL_INT8
UINT8 = <int>SL_UINT8
INT16 = <int>SL_INT16
UINT16 = <int>SL_UINT16
BOOL = <int>SL_BOOL

# Elements whose losses `elementwise` adds up to one number.
BLOCK = <int>SL_BLOCK

# Temperatures that the float32 kernels can take; those of float64 take more.
cdef enum:
    TEMPERATURE_LIMIT = 1 << 24

# Rows of so many classes are left to the path that knows their compute type.
cdef int64_t MOST_CLASSES = 1LL << 32

# Elements from which a call is worth giving the GIL away: some 2 us of work.
cdef enum:
    RELEASE_FROM = 16384

# How many threads a call may use: for the whole process, and for calls of one context, where it is set.
cdef int threads = 1
thread_limit = contextvars.PyContextVar_New("softlane.num_threads", NULL)

sl_isa_count()


cdef int threads_for(Py_ssize_t elements) except -1:
    if not sl_may_share(elements):
        return 1
    limit = contextvars.get_value_no_default(thread_limit)
    return threads if limit is None else limit


cdef int execute(const sl_job *job) except -1:
    cdef int status, count
    cdef Py_ssize_t elements = job.outer * job.n * job.inner
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


cdef inline bint split_shape(sl_job *job, int ndim, cnp.npy_intp *dims, long axis) noexcept:
    """(outer, n, inner) of a C-contiguous array; False where there is nothing to compute."""
    cdef int i
    job.outer = job.inner = 1
    for i in range(axis):
        job.outer *= dims[i]
    job.n = dims[axis]
    for i in range(axis + 1, ndim):
        job.inner *= dims[i]
    return job.outer > 0 and job.n > 0 and job.inner > 0


cdef inline bint apart(const char *a, const char *b, Py_ssize_t size_a, Py_ssize_t size_b) noexcept:
    return a + size_a <= b or b + size_b <= a


cdef int bfloat16 = -1  # NumPy's number for it, once it has been seen


def register_bfloat16(int type_num):
    global bfloat16
    bfloat16 = type_num


cdef inline bint prepare_for(sl_job *job, int op, int type_num, int *result) noexcept:
    """The dtypes of an input and its result; False for types that need conversion first."""
    result[0] = cnp.NPY_FLOAT
    if type_num == cnp.NPY_FLOAT:
        prepare(job, op, SL_FLOAT32, SL_FLOAT32)
    elif type_num == cnp.NPY_DOUBLE:
        prepare(job, op, SL_FLOAT64, SL_FLOAT64)
        result[0] = type_num
    elif type_num == cnp.NPY_FLOAT16:
        prepare(job, op, SL_FLOAT16, SL_FLOAT16)
        result[0] = type_num
    elif type_num == bfloat16:
        prepare(job, op, SL_BFLOAT16, SL_BFLOAT16)
        result[0] = type_num
    elif type_num == cnp.NPY_UBYTE:
        prepare(job, op, SL_UINT8, SL_FLOAT32)
    elif type_num == cnp.NPY_BYTE:
        prepare(job, op, SL_INT8, SL_FLOAT32)
    else:
        return False
    return True


cdef inline bint take_plain(sl_job *job, int op, x, axis, int *result, long *k) noexcept:
    """x and the axis into the job, where x is a plain C-contiguous array of a type that the kernels know."""
    cdef int overflow = 0
    cdef cnp.ndarray a
    if not cnp.PyArray_CheckExact(x) or not PyLong_CheckExact(axis):
        return False
    a = <cnp.ndarray>x
    cdef int ndim = cnp.PyArray_NDIM(a)
    if ndim == 0 or not cnp.PyArray_ISCARRAY_RO(a) or not prepare_for(job, op, cnp.PyArray_TYPE(a), result):
        return False
    k[0] = PyLong_AsLongAndOverflow(axis, &overflow)
    if k[0] < 0:
        k[0] += ndim
    if overflow or k[0] < 0 or k[0] >= ndim:
        return False
    job.x = cnp.PyArray_DATA(a)
    return split_shape(job, ndim, cnp.PyArray_DIMS(a), k[0])


cdef inline bint is_in_range(double t) noexcept:
    return t * TEMPERATURE_LIMIT >= 1 and t <= TEMPERATURE_LIMIT


cdef inline bint take_temperature(sl_job *job, temperature, cnp.ndarray a, long k, double *one) noexcept:
    """A number, which stays in `one`, or a plain array of float64 of one for each row of a along axis k."""
    cdef int i, j = 0, overflow = 0, ndim = cnp.PyArray_NDIM(a)
    cdef Py_ssize_t row
    cdef cnp.ndarray t
    cdef const double *numbers
    if PyFloat_CheckExact(temperature):
        one[0] = PyFloat_AS_DOUBLE(temperature)
    elif PyLong_CheckExact(temperature):
        one[0] = <double>PyLong_AsLongAndOverflow(temperature, &overflow)  # -1 where that is no long
    else:
        if not cnp.PyArray_CheckExact(temperature):
            return False
        t = <cnp.ndarray>temperature
        if cnp.PyArray_TYPE(t) != cnp.NPY_DOUBLE or not cnp.PyArray_ISCARRAY_RO(t):
            return False
        if cnp.PyArray_NDIM(t) != ndim and cnp.PyArray_NDIM(t) != ndim - 1:
            return False
        for i in range(ndim):
            if i == k and cnp.PyArray_NDIM(t) < ndim:
                continue
            if cnp.PyArray_DIM(t, j) != (1 if i == k else cnp.PyArray_DIM(a, i)):
                return False
            j += 1
        numbers = <const double *>cnp.PyArray_DATA(t)
        for row in range(cnp.PyArray_SIZE(t)):
            if not is_in_range(numbers[row]):
                return False
        if cnp.PyArray_SIZE(t) > 1:
            job.temperature = numbers
            job.temperature_step = 1
            return True
        one[0] = numbers[0]
        if cnp.PyArray_NDIM(t):  # a part of an array that has other temperatures too: 1 is not left out
            job.temperature = one
            return True
    if one[0] != 1:
        job.temperature = one
    return is_in_range(one[0])


def fast(int op, x, axis, out, bint keepdims=False, where=None, temperature=None):
    """The result where x, out, where and temperature are plain C-contiguous arrays of the right types, temperature may
    also be a number, and every argument is in range.

    None otherwise: then nothing was computed, and the general path decides.
    """
    cdef sl_job job
    cdef cnp.ndarray a, y
    cdef cnp.npy_intp dims[64]
    cdef long k
    cdef int i, j, ydim, type_num
    if not take_plain(&job, op, x, axis, &type_num, &k):
        return None
    a = <cnp.ndarray>x
    cdef int ndim = cnp.PyArray_NDIM(a)
    ydim = 0
    for i in range(ndim):
        if op == SL_LOGSUMEXP and i == k:
            if keepdims:
                dims[ydim] = 1
                ydim += 1
        else:
            dims[ydim] = cnp.PyArray_DIM(a, i)
            ydim += 1
    cdef cnp.ndarray mask
    if where is not None:
        if not cnp.PyArray_CheckExact(where):
            return None
        mask = <cnp.ndarray>where
        if (cnp.PyArray_TYPE(mask) != cnp.NPY_BOOL or not cnp.PyArray_ISCARRAY_RO(mask)
                or not cnp.PyArray_SAMESHAPE(mask, a)):
            return None
        job.mask = <const unsigned char *>cnp.PyArray_DATA(mask)
    cdef double one
    if temperature is not None:
        if not take_temperature(&job, temperature, a, k, &one):
            return None
    if out is None:
        y = <cnp.ndarray>cnp.PyArray_EMPTY(ydim, dims, type_num, 0)
        job.y = cnp.PyArray_DATA(y)
    else:
        if not cnp.PyArray_CheckExact(out):
            return None
        y = <cnp.ndarray>out
        if cnp.PyArray_TYPE(y) != type_num or not cnp.PyArray_ISCARRAY(y) or cnp.PyArray_NDIM(y) != ydim:
            return None
        for j in range(ydim):
            if cnp.PyArray_DIM(y, j) != dims[j]:
                return None
        job.y = cnp.PyArray_DATA(y)
        if job.mask and not apart(<const char *>job.mask, <char *>job.y,
                                  cnp.PyArray_NBYTES(mask), cnp.PyArray_NBYTES(y)):
            return None
        if job.temperature_step and not apart(<const char *>job.temperature, <char *>job.y,
                                              cnp.PyArray_NBYTES(<cnp.ndarray>temperature), cnp.PyArray_NBYTES(y)):
            return None
        if not ((job.y == job.x and op != SL_LOGSUMEXP and job.x_dtype == job.y_dtype)
                or apart(<char *>job.x, <char *>job.y, cnp.PyArray_NBYTES(a), cnp.PyArray_NBYTES(y))):
            return None
    execute(&job)
    if ydim == 0 and out is None:
        return y[()]
    return y


cdef inline void set_options(sl_job *job, mask, temperature) noexcept:
    job.mask = <const unsigned char *>data(mask)
    job.temperature = <const double *>data(temperature)
    job.temperature_step = step_of(temperature)


cdef inline Py_ssize_t step_of(array) noexcept:
    """From one row's number to the next one's: 0 where there is one for all."""
    return array is not None and cnp.PyArray_SIZE(<cnp.ndarray>array) > 1


def fast_select(int op, x, axis, Py_ssize_t k, bint has_axis, bint in_order=True, given=None):
    """(index, values) of k classes of each row, or values alone of given classes, where x and these are plain.

    None otherwise, as for `fast`. has_axis: the results have an axis of length k.
    """
    cdef sl_job job
    cdef sl_select_args args
    cdef bint takes = op == SL_TAKE_PROBS or op == SL_TAKE_LOG_PROBS
    cdef cnp.ndarray a, y, index
    cdef cnp.npy_intp dims[64]
    cdef long place
    cdef int i, ydim, type_num
    cdef Py_ssize_t counted
    cdef const int64_t *first
    if not take_plain(&job, op, x, axis, &type_num, &place):
        return None
    a = <cnp.ndarray>x
    if takes:
        if not cnp.PyArray_CheckExact(given):
            return None
        index = <cnp.ndarray>given
        if cnp.PyArray_TYPE(index) != cnp.NPY_INT64 or not cnp.PyArray_ISCARRAY_RO(index):
            return None
        has_axis = cnp.PyArray_NDIM(index) == cnp.PyArray_NDIM(a)
        k = cnp.PyArray_DIM(index, place) if has_axis else 1
    if k < 1 or k > job.n and not takes or k != 1 and job.inner != 1 or job.n >= MOST_CLASSES:
        return None
    ydim = 0
    for i in range(cnp.PyArray_NDIM(a)):
        if i != place or has_axis:
            dims[ydim] = k if i == place else cnp.PyArray_DIM(a, i)
            ydim += 1
    if takes:
        if cnp.PyArray_NDIM(index) != ydim:
            return None
        for i in range(ydim):
            if cnp.PyArray_DIM(index, i) != dims[i]:
                return None
        first = <const int64_t *>cnp.PyArray_DATA(index)
        if sl_active().wrong_target(first, cnp.PyArray_SIZE(index), job.n, 0, &counted) >= 0:  # 0 is a class
            return None
        if type_num != cnp.NPY_DOUBLE:  # one number for each row is worth 32 bits
            type_num = cnp.NPY_FLOAT
            job.y_dtype = SL_FLOAT32
    else:
        index = <cnp.ndarray>cnp.PyArray_EMPTY(ydim, dims, cnp.NPY_INT64, 0)
    y = None
    if op != SL_TOPK:
        y = <cnp.ndarray>cnp.PyArray_EMPTY(ydim, dims, type_num, 0)
    job.y = data(y)
    job.args = &args
    args.k = k
    args.index = indices(index)
    args.rank = indices(None)
    args.sorted = in_order
    execute(&job)
    if takes:
        return y if ydim else y[()]
    return (index, y) if ydim else (index[()], None if y is None else y[()])


cdef inline void *data(array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


cdef inline sl_indices indices(array) noexcept:
    cdef sl_indices found
    found.at = data(array)
    found.size = 0 if array is None else cnp.PyArray_ITEMSIZE(<cnp.ndarray>array)
    return found


cdef inline int run_on(sl_job *job, cnp.ndarray x, int axis) except -1:
    job.x = cnp.PyArray_DATA(x)
    if split_shape(job, cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), axis):
        execute(job)
    return 0


def run(int op, int x_dtype, int y_dtype, cnp.ndarray x, cnp.ndarray y, int axis, mask=None, temperature=None,
        values=None):
    """Run one job on arrays that the caller has checked: C-contiguous, aligned, native, of the given dtypes.

    y has the shape of x (or, for logsumexp and expectation, its size without the axis) and is x itself or does not
    overlap it. mask is an array of bool like x, temperature one float64, or one for each row. values, for expectation,
    are one for each class and of the compute type.
    """
    cdef sl_job job
    cdef sl_expectation_args args
    prepare(&job, op, x_dtype, y_dtype)
    set_options(&job, mask, temperature)
    job.y = cnp.PyArray_DATA(y)
    args.values = data(values)
    job.args = &args
    run_on(&job, x, axis)


def cross_entropy(int dtype, cnp.ndarray x, grad, int axis, target, int64_t ignore_index, mass, int mass_dtype,
                  class_weight, double label_smoothing, double scale, cnp.ndarray losses):
    """The losses of x, and the gradient unless grad is None, on arrays that the caller has checked as for `run`.

    One of target (int64, in range) and mass (shape of x) is None; class_weight is of the compute type, losses is
    float64.
    """
    cdef sl_job job
    cdef sl_loss_args args
    prepare(&job, SL_CROSS_ENTROPY if grad is None else SL_CROSS_ENTROPY_GRAD, dtype, dtype)
    job.y = data(grad)
    job.args = &args
    args.target = <const int64_t *>data(target)
    args.ignore_index = ignore_index
    args.mass = data(mass)
    args.mass_dtype = <sl_dtype>mass_dtype
    args.class_weight = data(class_weight)
    args.label_smoothing = label_smoothing
    args.scale = scale
    args.loss = <double *>cnp.PyArray_DATA(losses)
    run_on(&job, x, axis)


def select(int op, int x_dtype, int y_dtype, cnp.ndarray x, int axis, Py_ssize_t k, cnp.ndarray index, rank=None,
           y=None, mask=None, temperature=None, bint in_order=True):
    """Select k classes of each row of x, an array as for `run`; k is 1 unless axis is the last one.

    index, rank (integers of any size) and y have k elements for each row. softlane.h has what they become.
    """
    cdef sl_job job
    cdef sl_select_args args
    prepare(&job, op, x_dtype, y_dtype)
    set_options(&job, mask, temperature)
    job.y = data(y)
    job.args = &args
    args.k = k
    args.index = indices(index)
    args.rank = indices(rank)
    args.sorted = in_order
    run_on(&job, x, axis)


def sample(int x_dtype, int y_dtype, cnp.ndarray x, int axis, Py_ssize_t draws, cnp.ndarray index, y, mask, temperature,
           uniform, top_k, top_p, min_p, bint replace=True):
    """Draw classes of each row of x, an array as for `run`, whose axis is the last one.

    index (integers of any size), uniform (float64) and y have so many elements for each row; y may be None. top_k
    (int64), top_p and min_p (float64) are None, one number, or one for each row.
    """
    cdef sl_job job
    cdef sl_sample_args args
    prepare(&job, SL_SAMPLE, x_dtype, y_dtype)
    set_options(&job, mask, temperature)
    job.y = data(y)
    job.args = &args
    args.draws = draws
    args.without_replacement = not replace
    args.index = indices(index)
    args.uniform = <const double *>data(uniform)
    args.top_k = <const int64_t *>data(top_k)
    args.top_p = <const double *>data(top_p)
    args.min_p = <const double *>data(min_p)
    args.top_k_step = step_of(top_k)
    args.top_p_step = step_of(top_p)
    args.min_p_step = step_of(min_p)
    run_on(&job, x, axis)


def vjp(int op, int dtype, cnp.ndarray grad, cnp.ndarray output, cnp.ndarray y, int axis):
    """A vector-Jacobian product; all arrays as for `run`, of one shape, y may be one of the others."""
    cdef sl_job job
    cdef sl_vjp_args args
    prepare(&job, op, dtype, dtype)
    job.y = cnp.PyArray_DATA(y)
    job.args = &args
    args.output = cnp.PyArray_DATA(output)
    run_on(&job, grad, axis)


def elementwise(int op, int x_dtype, int y_dtype, cnp.ndarray x, y, target=None, weight=None, pos_weight=None,
                losses=None, sums=None, double scale=1):
    """An operation without rows on arrays as for `run`, all of one size. sums has one float64 for BLOCK elements."""
    cdef sl_elementwise_job job
    cdef int count
    job.op = <sl_op>op
    job.x_dtype = <sl_dtype>x_dtype
    job.y_dtype = <sl_dtype>y_dtype
    job.x = cnp.PyArray_DATA(x)
    job.y = data(y)
    job.target = data(target)
    job.weight = data(weight)
    job.pos_weight = data(pos_weight)
    job.loss = data(losses)
    job.sums = <double *>data(sums)
    job.scale = scale
    job.n = cnp.PyArray_SIZE(x)
    if job.n < RELEASE_FROM:
        sl_run_elementwise(&job, 1)
    else:
        count = threads_for(job.n)
        with nogil:
            sl_run_elementwise(&job, count)


def wrong_target(cnp.ndarray target, Py_ssize_t n, int64_t ignore):
    """The first index of an int64 array that is neither a class nor ignored, or -1; and how many are not ignored."""
    cdef Py_ssize_t counted
    cdef const int64_t *first = <const int64_t *>cnp.PyArray_DATA(target)
    cdef Py_ssize_t wrong = sl_active().wrong_target(first, cnp.PyArray_SIZE(target), n, ignore, &counted)
    return wrong, counted


def total_weight(cnp.ndarray target, int64_t ignore, cnp.ndarray weight):
    """The sum of the (float64) weights of all targets that are not ignored."""
    cdef const int64_t *first = <const int64_t *>cnp.PyArray_DATA(target)
    return sl_active().total_weight(first, cnp.PyArray_SIZE(target), ignore, <const double *>cnp.PyArray_DATA(weight))


def total(cnp.ndarray x):
    """The sum of a float64 array, as if in twice the precision."""
    return sl_active().total(<const double *>cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x))


def get_threads():
    """Of the process."""
    return threads


def set_threads(int n):
    global threads
    threads = n


def thread_engine():
    """"pool", "openmp" or "none": chosen when this was built."""
    return sl_thread_engine().decode()


def available_isas():
    """The instruction set paths that this build and this processor have, best first."""
    return [sl_isa_name(i).decode() for i in range(sl_isa_count())]


def active_isa():
    return sl_active().name.decode()


def use_isa(str name):
    """Switch to another path; False where it is not available. For tests: other threads must not be computing."""
    return sl_use_isa(name.encode()) == 0
